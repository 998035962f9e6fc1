/** A machine on which containers cannot be made reports that, and why, when the runtime is opened. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openOciRuntime } from '../../../agent/runtime/oci/open.ts';
import type { RuntimeConfig } from '../../../agent/runtime/select.ts';
import { Bench } from '../../../agent/runtime/contract/subject.ts';
import { leftMounts, leftProcesses, ownFamily } from '../../helpers/leftovers.ts';
import { ociConfig, ociSubject } from './subject.ts';

const run = promisify(execFile);
/** Bounds a hang. */
const LIMIT_MS = 20_000;

let home: string;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'mbx-trial-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

function config(dataDir: string, program?: string): RuntimeConfig {
  const base = ociConfig(dataDir);
  return { ...base, ...(base.oci === undefined ? {} : { oci: { ...base.oci, program } }) };
}

async function refusal(options: RuntimeConfig): Promise<{ code: unknown; message: string }> {
  try {
    await (await openOciRuntime(options)).close();
  } catch (error) {
    return { code: (error as { code?: unknown }).code, message: String((error as Error).message) };
  }
  return { code: 'none', message: '' };
}

test('a program that is missing, or does not run', async () => {
  expect(await refusal(config(home, 'no-such-runtime'))).toMatchObject({ code: 'not_supported' });
  const broken = path.join(home, 'broken');
  writeFileSync(broken, '#!/bin/sh\nexit 1\n');
  chmodSync(broken, 0o755);
  expect(await refusal(config(home, broken))).toMatchObject({ code: 'not_supported' });
});

test('a runtime that reports its version but can start nothing: its output is quoted, and nothing is left', async () => {
  const program = path.join(home, 'refuses');
  writeFileSync(program, '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "this layout is not for me" >&2\nexit 1\n');
  chmodSync(program, 0o755);
  const dataDir = path.join(home, 'data');
  const { code, message } = await refusal(config(dataDir, program));
  expect(code).toBe('not_supported');
  expect(message).toContain('this layout is not for me');
  expect(message).toMatch(/^\/\S+ cannot start a container here: [^\n]*MILLIBOX_OCI_PROGRAM[^\n]*$/);
  expect(leftMounts(home)).toEqual([]);
  expect(readdirSync(path.join(dataDir, 'oci', 'boxes'))).toEqual([]);
});

test("a new program gets a trial although an earlier one's containers exist, and these continue", async () => {
  await using bench = await Bench.open(ociSubject());
  const { container, link } = await bench.launch();
  const program = path.join(home, 'refuses');
  writeFileSync(program, '#!/bin/sh\n[ "$1" = --version ]\n', { mode: 0o755 });
  expect(await refusal(config(bench.dataDir, program))).toMatchObject({ code: 'not_supported' });
  expect(await bench.exists(container.id)).toBe(true);
  expect(await link.ping()).toBeGreaterThan(0);
  // The earlier one is known to work: there is no trial, and nothing is assumed about the other.
  const known = await openOciRuntime(config(bench.dataDir));
  expect((await known.list()).map(({ id, running }) => [id, running])).toEqual([[container.id, true]]);
  await known.close();
  expect(await refusal(config(bench.dataDir, program))).toMatchObject({ code: 'not_supported' });
});

test("a data directory that cannot hold an overlay's upper dir", async () => {
  const family = ownFamily();
  const dirs = ['lower', 'upper', 'work', 'data'].map((name) => path.join(home, name));
  for (const dir of dirs) mkdirSync(dir);
  const [lower, upper, work, dataDir = ''] = dirs;
  // An overlay on an overlay: what an agent in a container has.
  const overlay = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  await run('mount', ['-t', 'overlay', 'overlay', '-o', overlay, dataDir]);
  try {
    const { code, message } = await refusal(config(dataDir));
    expect(code).toBe('not_supported');
    expect(message).toContain('cannot be mounted');
    // A process that was told to end may take a moment.
    await vi.waitFor(() => expect(leftProcesses(dataDir, family)).toEqual([]), { timeout: LIMIT_MS });
    expect(leftMounts(`${dataDir}/`)).toEqual([]);
  } finally {
    await run('umount', ['--lazy', dataDir]);
  }
});

test('a successful trial leaves nothing behind', async () => {
  const dataDir = path.join(home, 'data');
  const runtime = await openOciRuntime(config(dataDir));
  try {
    expect(await runtime.list()).toEqual([]);
    expect(readdirSync(path.join(dataDir, 'oci'))).not.toContain('trial');
  } finally {
    await runtime.close();
  }
  expect(leftMounts(dataDir)).toEqual([]);
});
