/** A part of the service is killed while the official clients wait for a command: they get an error, and none hangs. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { clientEnvironment, program } from './clients.ts';

const LIMIT_MS = 240_000;
/** Lost parts are given up on soon. */
const IMPATIENT = {
  MILLIBOX_PRIME_NETWORK: 'off',
  MILLIBOX_RESUME_MS: '2000',
  MILLIBOX_LINK_PATIENCE_MS: '2000',
  MILLIBOX_NODE_GRACE_MS: '4000',
};
const CLIENTS = [
  { venv: '0.2.36', wire: 'json' },
  { venv: '0.2.39', wire: 'connect' },
  { venv: 'newest', wire: '' },
].map((client) => ({ ...client, python: program(client.venv) }));
const installed = CLIENTS.filter(({ python }) => python !== undefined);

interface Told {
  event: string;
  outcome?: string;
  text?: string;
}

/** One client, and what it has reported so far. */
class Caller {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #said = '';

  constructor(stack: TestStack, { venv, wire, python }: (typeof CLIENTS)[number]) {
    this.name = venv;
    const env = { ...clientEnvironment(stack, `dying-${venv}`), WIRE: wire };
    const script = join(import.meta.dirname, 'checks', 'dying.py');
    this.child = spawn(python ?? '', [script], { env, stdio: ['pipe', 'pipe', 'pipe'] });
    const { stdout, stderr } = this.child;
    if (stdout === null || stderr === null) throw new Error('no pipes');
    stderr.setEncoding('utf8').on('data', (text: string) => (this.#said = (this.#said + text).slice(-4_000)));
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async next(event: string): Promise<Told> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`${this.name} ended before ${event}\n${this.#said}`);
    const told = JSON.parse(value) as Told;
    expect(told.event, `${this.name}: ${value}`).toBe(event);
    return told;
  }
}

let stack: TestStack | undefined;
const callers: Caller[] = [];
const all = (event: string): Promise<Told[]> => Promise.all(callers.map((caller) => caller.next(event)));

beforeAll(async () => {
  if (installed.length === 0) return;
  const running = await startStack({ pool: 1, gatewayEnv: IMPATIENT });
  stack = running;
  for (const client of installed) callers.push(new Caller(running, client));
});
afterAll(async () => {
  for (const { child } of callers) child.kill('SIGKILL');
  await stack?.stop();
});

describe.skipIf(installed.length === 0)('a command in progress', () => {
  test(
    'when the gateway is killed has an answer or an error, and the sandbox is there for the next',
    async () => {
      await all('running');
      await stack?.killGateway();
      stack?.restartGateway();
      const over = await all('over');
      for (const { outcome } of over) expect(['answered', 'APIError']).toContain(outcome);
      await all('settled');
    },
    LIMIT_MS,
  );

  test(
    'when its node is lost is an error, and the sandbox is not running any more',
    async () => {
      for (const { child } of callers) child.stdin?.write('\n');
      await all('running');
      await stack?.killAgent();
      const over = await all('over');
      for (const { outcome } of over) expect(['APIError', 'SandboxNotRunningError']).toContain(outcome);
      await all('settled');
    },
    LIMIT_MS,
  );
});
