import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Child } from './child.ts';

test('each process of a part is told, also of one that is started anew', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'part-'));
  const pids: (number | undefined)[] = [];
  const twice = Promise.withResolvers<void>();
  const part = new Child({
    name: 'part',
    file: process.execPath,
    args: ['-e', ''],
    env: {},
    logFile: join(directory, 'log'),
    onStart: () => {
      pids.push(part.pid);
      if (pids.length === 2) twice.resolve();
    },
  });
  onTestFinished(async () => {
    await part.stop(1_000);
    rmSync(directory, { recursive: true });
  });
  part.start();
  await twice.promise;
  expect(new Set(pids).size).toBe(2);
  expect(pids).not.toContain(undefined);
});
