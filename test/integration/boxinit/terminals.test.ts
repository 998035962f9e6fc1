/** Terminals at their limits. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 180_000;
/** What is read from a terminal after its leader's exit, and what came before. */
const MOST_BYTES = 300 * 1024;

/**
 * Its child outlives it in the same terminal, and floods it. The leader releases the terminal: otherwise its exit would
 * end the terminal.
 */
const FLOOD = `
import fcntl, os, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_IGN)
leader = os.getpid()
if os.fork() == 0:
    while os.getppid() == leader: pass
    while True: os.write(1, b"x" * 4096)
fcntl.ioctl(0, termios.TIOCNOTTY)
os.write(1, b"last words ")
os._exit(7)
`;

const HOG = `
import os, time
held = []
try:
    while len(held) < 5000: held.append(os.openpty())
except OSError: pass
print(len(held), flush=True)
time.sleep(600)
`;

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ runtime: 'oci', pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 128 });
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

test(
  "behind its leader's exit a flooded terminal is read to a bound, and no further",
  { timeout: LIMIT_MS },
  async () => {
    for (let i = 0; i < 5; i++) {
      const terminal = sandbox.pty({ command: ['python3', '-c', FLOOD] });
      let text = '';
      for await (const chunk of terminal) text += chunk.toString('latin1');
      expect((await terminal.exit).exitCode).toBe(7);
      expect(text).toContain('last words ');
      expect(text.length).toBeLessThan(MOST_BYTES);
    }
  },
);

test('a sandbox without a terminal to spare reports how many it may have', { timeout: LIMIT_MS }, async () => {
  let count = '';
  const hog = sandbox.exec(['python3', '-c', HOG], { onStdout: (text) => (count += text) });
  hog.result.catch(() => undefined);
  await until(() => count === '256\n', LIMIT_MS, 'all terminals to be taken');
  await expect(sandbox.pty({ command: ['true'] }).exit).rejects.toMatchObject({
    code: 'exec_resource_limit',
    message: expect.stringContaining('256 terminals') as string,
  });
});
