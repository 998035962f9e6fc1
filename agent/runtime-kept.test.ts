import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../src/lib/logger.ts';
import { ServiceError } from '../src/protocol/errors.ts';
import { loadConfig, type AgentConfig } from './config.ts';
import { main } from './main.ts';
import { keepRuntime, noteRuntime } from './runtime-kept.ts';

let dataDir: string;
beforeEach(() => void (dataDir = mkdtempSync(path.join(tmpdir(), 'kept-'))));
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const environment = (runtime: string): Record<string, string> => ({
  MILLIBOX_NODE_SECRET: 'a secret that only tests share',
  MILLIBOX_DATA_DIR: dataDir,
  MILLIBOX_RUNTIME: runtime,
  MILLIBOX_AGENT_LISTEN: '127.0.0.1:0',
  MILLIBOX_LOG_LEVEL: 'silent',
});
const kept = (runtime: string): Promise<AgentConfig> => keepRuntime(loadConfig(environment(runtime)), silent);
const addContainer = (): void => void mkdirSync(path.join(dataDir, 'c', 'a-container'), { recursive: true });

test('a data directory with containers of one runtime is refused to another, with advice', async () => {
  await noteRuntime(dataDir, 'docker');
  addContainer();
  const error = await kept('oci').catch((thrown: unknown) => ServiceError.from(thrown));
  expect(error).toMatchObject({ code: 'not_supported' });
  expect((error as ServiceError).message).toMatch(/1 containers of the runtime docker.*MILLIBOX_ON_STOP=destroy once/);
  expect((await kept('docker')).runtime).toBe('docker');
});

test('auto chooses the runtime whose containers exist', async () => {
  await noteRuntime(dataDir, 'docker');
  expect((await kept('auto')).runtime).toBe('auto');
  addContainer();
  expect((await kept('auto')).runtime).toBe('docker');
});

test('a data directory without containers, or without a recorded runtime, accepts any', async () => {
  await noteRuntime(dataDir, 'docker');
  expect((await kept('oci')).runtime).toBe('oci');
  writeFileSync(path.join(dataDir, 'runtime'), 'nonsense');
  addContainer();
  expect((await kept('oci')).runtime).toBe('oci');
});

test('an agent records its runtime at start, and refuses to start with another', async () => {
  await main({ ...environment('fake'), MILLIBOX_ON_STOP: 'destroy' }, AbortSignal.abort());
  addContainer();
  await expect(main(environment('docker'), AbortSignal.abort())).rejects.toThrow('runtime fake');
});
