import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { claimHome, upFile, writeUpFile } from './up-file.ts';

let home: string;
let started: ChildProcess[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'mbx-up-'));
  mkdirSync(join(home, 'run'));
  writeFileSync(join(home, 'main.js'), 'console.log("runs"); setInterval(() => {}, 1000);');
});
afterEach(() => {
  vi.restoreAllMocks();
  for (const each of started) each.kill('SIGKILL');
  started = [];
  rmSync(home, { recursive: true, force: true });
});

async function program(env: Record<string, string>, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(home, 'main.js'), ...args], { env });
  started.push(child);
  await once(child.stdout, 'data');
  return child;
}

const pidOf = (child: ChildProcess): number => child.pid ?? 0;

test('processes left by a killed `up` are ended, but not others that have their process ids now', async () => {
  const part = await program({ MILLIBOX_NODE_SECRET_FILE: `${home}/node-secret` });
  const stranger = await program({ HOME: '/somewhere' });
  writeUpFile(home, { pid: pidOf(stranger), url: 'http://127.0.0.1:1', pids: [pidOf(part), pidOf(stranger)] });
  const ended = once(part, 'exit');
  claimHome(home);
  expect((await ended)[1]).toBe('SIGKILL');
  expect(() => process.kill(pidOf(stranger), 0)).not.toThrow();
});

test('a part that exits while it is being ended is no failure, and the others are ended', async () => {
  const [gone, part] = [await program({ A: `${home}/a` }), await program({ A: `${home}/a` })];
  writeUpFile(home, { pid: 0, url: 'http://127.0.0.1:1', pids: [pidOf(gone), pidOf(part)] });
  const kill = process.kill.bind(process);
  vi.spyOn(process, 'kill').mockImplementation((pid, signal) => {
    if (pid === pidOf(gone)) throw Object.assign(new Error('kill ESRCH'), { code: 'ESRCH' });
    return kill(pid, signal);
  });
  const ended = once(part, 'exit');
  claimHome(home);
  expect((await ended)[1]).toBe('SIGKILL');
  expect(existsSync(upFile(home))).toBe(false);
});

test('a part that cannot be ended is reported, and stays recorded', async () => {
  const part = await program({ A: `${home}/a` });
  writeUpFile(home, { pid: 0, url: 'http://127.0.0.1:1', pids: [pidOf(part)] });
  vi.spyOn(process, 'kill').mockImplementation(() => {
    throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
  });
  expect(() => claimHome(home)).toThrow('EPERM');
  expect(existsSync(upFile(home))).toBe(true);
});

test('a home has one `up`', async () => {
  const other = await program({}, 'up');
  writeUpFile(home, { pid: pidOf(other), url: 'http://127.0.0.1:1', pids: [] });
  expect(() => claimHome(home)).toThrow(`as process ${pidOf(other)}`);
});

test('an unreadable `up` file is reported; a partial one counts as none', () => {
  writeFileSync(upFile(home), '{"pid":');
  expect(() => claimHome(home)).not.toThrow();
  rmSync(upFile(home));
  mkdirSync(upFile(home));
  expect(() => claimHome(home)).toThrow('EISDIR');
});
