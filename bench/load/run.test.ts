/** What a bench run reports about the machine at its end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BenchRun } from './run.ts';

test('a run that created nothing, or removed it again, leaves nothing', async () => {
  const run = new BenchRun();
  expect(await run.end(false)).toEqual([]);
  expect(existsSync(run.directory)).toBe(false);
});

test('a leftover process, socket or file is named, and files are removed nevertheless', async () => {
  const run = new BenchRun();
  writeFileSync(join(run.directory, 'forgotten'), '');
  const server = createServer().listen(join(run.directory, 'socket'));
  await once(server, 'listening');
  const child = spawn('sleep', ['60'], { stdio: 'ignore', env: { DIRECTORY: run.directory } });
  await once(child, 'spawn');
  const left = await run.end(false, 0);
  child.kill();
  server.close();
  expect(left).toContainEqual(`process: ${child.pid} sleep 60`);
  expect(left).toContainEqual(expect.stringMatching(/^unix socket: .*\/socket$/));
  expect(left).toContain('file: forgotten');
  expect(existsSync(run.directory)).toBe(false);
});

test('a run that was cut off has its files removed, and does not report them', async () => {
  const run = new BenchRun();
  writeFileSync(join(run.directory, 'half'), '');
  expect(await run.end(true)).toEqual([]);
  expect(existsSync(run.directory)).toBe(false);
});
