import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Child } from './child.ts';

test('each process of a part is reported, including restarted ones', async () => {
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

test('a part that fails at its first start is not restarted, and its own output says why', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'part-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const logFile = join(directory, 'log');
  writeFileSync(logFile, 'what another start said\n');
  const ended = Promise.withResolvers<void>();
  let starts = 0;
  const part = new Child({
    name: 'part',
    file: process.execPath,
    args: ['-e', `console.log('{"level":30}'); console.error('SOME_NAME: is wrong'); process.exit(1)`],
    env: {},
    logFile,
    mayGoBetter: () => {
      ended.resolve();
      return false;
    },
    onStart: () => (starts += 1),
    onRestart: (message) => ended.reject(new Error(message)),
  });
  onTestFinished(() => part.stop(1_000));
  part.start();
  await ended.promise;
  expect({ gaveUp: part.gaveUp, starts }).toEqual({ gaveUp: true, starts: 1 });
  expect(part.lastWords()).toBe('SOME_NAME: is wrong');
});

test('a part that was ended by a signal is restarted, even before the others are up', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'part-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const restarted = Promise.withResolvers<void>();
  let starts = 0;
  const part = new Child({
    name: 'part',
    file: process.execPath,
    args: ['-e', 'process.kill(process.pid, "SIGKILL")'],
    env: {},
    logFile: join(directory, 'log'),
    mayGoBetter: () => false,
    onStart: () => {
      starts += 1;
      if (starts === 2) restarted.resolve();
    },
  });
  onTestFinished(() => part.stop(1_000));
  part.start();
  await restarted.promise;
  expect(part.gaveUp).toBe(false);
});
