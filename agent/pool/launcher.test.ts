import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { FakeRuntime } from '../runtime/fake/fake-runtime.ts';
import { SupervisorLink } from '../supervisor/supervisor-link.ts';
import { ContainerHomes } from './container-homes.ts';
import { Launcher, type LaunchSpec } from './launcher.ts';

const SPEC: LaunchSpec = {
  poolKey: 'key',
  image: { ref: 'image', id: 'sha256:image', env: {}, workdir: '/', user: '' },
  limits: { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 },
  network: 'off',
};
const never = new AbortController().signal;

let dataDir: string;
let homes: ContainerHomes;
let launcher: Launcher;
beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  homes = new ContainerHomes(dataDir);
  launcher = new Launcher(new FakeRuntime(), homes, silent);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dataDir, { recursive: true, force: true });
});

test('a start that fails before its container exists leaves no home behind', async () => {
  vi.spyOn(SupervisorLink, 'listen').mockRejectedValue(new Error('EMFILE: too many open files'));
  await expect(launcher.launch(SPEC, never)).rejects.toThrow('EMFILE');
  await launcher.settled(never);
  expect(await homes.list()).toEqual([]);
});
