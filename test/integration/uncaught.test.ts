/** Uncaught errors in the long-running processes. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { agentMain, gatewayMain } from '../../src/cli/up/parts.ts';

/** Loaded before the program: throws an error on demand where no code could catch it. */
const FAILS = `data:text/javascript,process.once('SIGUSR2',()=>{setImmediate(()=>{throw new Error('out of nowhere')})})`;
const SECRET = { MILLIBOX_NODE_SECRET: 'a secret that only tests share' };

function parts(dataDir: string): { name: string; main: string; ready: string; env: Record<string, string> }[] {
  return [
    {
      name: 'agent',
      main: agentMain(),
      ready: 'listens on',
      env: {
        ...SECRET,
        MILLIBOX_AGENT_LISTEN: '127.0.0.1:0',
        MILLIBOX_DATA_DIR: dataDir,
        MILLIBOX_RUNTIME: 'fake',
        MILLIBOX_POOL_MIN: '0',
      },
    },
    {
      name: 'gateway',
      main: gatewayMain(),
      ready: 'gateway listens',
      env: {
        ...SECRET,
        MILLIBOX_LISTEN: '127.0.0.1:0',
        MILLIBOX_NODES: 'ws://127.0.0.1:1',
        MILLIBOX_API_KEY: 'k'.repeat(32),
      },
    },
  ];
}

test('agent and gateway log an uncaught error, and exit at once', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mbx-'));
  try {
    for (const { name, main, ready, env } of parts(dataDir)) {
      const child = spawn(process.execPath, ['--import', FAILS, main], {
        env: { PATH: process.env['PATH'], ...env },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'close') as Promise<[number | null]>;
      const lines: string[] = [];
      for await (const line of createInterface(child.stdout)) {
        lines.push(line);
        if (line.includes(ready)) child.kill('SIGUSR2');
      }
      expect([name, ...(await ended)].slice(0, 2)).toEqual([name, 1]);
      // Not always the last line: other activity may be logged after it.
      const uncaught = lines
        .map((line) => JSON.parse(line) as object)
        .find((line) => 'event' in line && line.event === 'uncaught');
      expect(uncaught).toMatchObject({ err: { message: 'out of nowhere' } });
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
