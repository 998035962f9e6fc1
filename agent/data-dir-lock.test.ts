import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../src/lib/logger.ts';
import { lockDataDir } from './data-dir-lock.ts';

let dataDir: string;
beforeEach(() => void (dataDir = mkdtempSync(path.join(tmpdir(), 'lock-'))));
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const lock = (patienceMs?: number) =>
  lockDataDir(dataDir, { log: silent, ...(patienceMs === undefined ? {} : { patienceMs }) });

test('a second agent on the same data directory is refused, with advice', async () => {
  using first = await lock();
  expect(first.held).toBe(true);
  await expect(lock(10)).rejects.toMatchObject({
    code: 'not_supported',
    message: expect.stringMatching(/another agent runs on .*lock-.*MILLIBOX_DATA_DIR/) as string,
  });
});

test('an agent that exits releases the directory to the one waiting for it', async () => {
  const first = await lock();
  const second = lock();
  first[Symbol.dispose]();
  using held = await second;
  expect(held.held).toBe(true);
});

test('a killed agent holds no lock', async () => {
  const script = `const { lockDataDir } = await import(process.argv[1]);
    const held = await lockDataDir(process.argv[2], { log: { warn() {} } }); console.log(held.held); setInterval(() => {}, 1e6)`;
  const module = path.join(import.meta.dirname, 'data-dir-lock.ts');
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, module, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = once(child, 'close');
  try {
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    expect(said.toString()).toBe('true\n');
    await expect(lock(10)).rejects.toMatchObject({ code: 'not_supported' });
  } finally {
    child.kill('SIGKILL');
  }
  await gone;
  using held = await lock();
  expect(held.held).toBe(true);
});
