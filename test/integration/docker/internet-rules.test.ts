/** The firewall rules around sandboxes with a network: set before the sandboxes exist, and restored if removed. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { expect, test } from 'vitest';
import { Internet } from '../../../agent/runtime/docker/internet.ts';
import { until } from '../../../agent/testing/harness.ts';
import { silent } from '../../../src/lib/logger.ts';

const run = promisify(execFile);
const docker = new Docker({ socketPath: '/var/run/docker.sock' });
/** Longer than a test. */
const NEVER_MS = 3_600_000;

class Node implements AsyncDisposable {
  readonly #owner = randomBytes(16).toString('hex');
  readonly table = `millibox_${this.#owner.slice(0, 12)}`;
  readonly network = `millibox-${this.#owner.slice(0, 12)}`;
  readonly #agents: Internet[] = [];

  agent(lookEveryMs: number): Internet {
    const internet = new Internet({ docker, owner: this.#owner, lookEveryMs, log: silent });
    this.#agents.push(internet);
    return internet;
  }

  async rules(): Promise<string> {
    return await run('nft', ['list', 'table', 'inet', this.table]).then(
      ({ stdout }) => stdout,
      () => '',
    );
  }

  /** Their chains stay. */
  async emptyRules(): Promise<void> {
    await run('nft', ['flush', 'table', 'inet', this.table]);
  }

  async takeRulesAway(): Promise<void> {
    await run('nft', ['delete', 'table', 'inet', this.table]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents) await agent.close();
    const { stdout } = await run('docker', [
      'network',
      'ls',
      '--filter',
      `label=io.millibox.owner=${this.#owner}`,
      '-q',
    ]);
    expect([stdout.trim(), await this.rules()]).toEqual(['', '']);
  }
}

test('rules removed while sandboxes run are restored', async () => {
  await using node = new Node();
  await node.agent(50).ready();
  const made = await node.rules();
  expect(made).toContain('169.254.0.0/16');
  await node.takeRulesAway();
  await until('the rules are back', async () => (await node.rules()) === made);
  await node.emptyRules();
  await until('the rules are back in their table', async () => (await node.rules()) === made);
});

test('no sandbox starts without the rules', async () => {
  await using node = new Node();
  const agent = node.agent(NEVER_MS);
  await agent.ready();
  await node.takeRulesAway();
  await agent.ready();
  expect(await node.rules()).toContain('169.254.0.0/16');
});

test('a network removed while unused is recreated for the next sandbox', async () => {
  await using node = new Node();
  const agent = node.agent(NEVER_MS);
  const name = await agent.ready();
  await docker.getNetwork(name).remove();
  await agent.ready();
  expect((await docker.getNetwork(name).inspect()).Name).toBe(name);
});

test("an agent that finds an earlier one's network sets its rules at once, and guards them", async () => {
  await using node = new Node();
  await node.agent(NEVER_MS).ready();
  await node.takeRulesAway();
  await node.agent(50).resume();
  expect(await node.rules()).toContain('169.254.0.0/16');
  await node.takeRulesAway();
  await until('the rules are back', async () => (await node.rules()) !== '');
});

test('the rules are removed with an agent whose network somebody else removed', async () => {
  await using node = new Node();
  await node.agent(NEVER_MS).ready();
  await run('docker', ['network', 'rm', node.network]);
});

test('an agent without such a network sets none', async () => {
  await using node = new Node();
  await node.agent(50).resume();
  expect(await node.rules()).toBe('');
});
