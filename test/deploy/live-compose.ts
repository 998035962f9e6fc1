/** The compose file, running as docs/deploy.md promises. */
import { kill } from 'node:process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { until } from '../helpers/until.ts';
import { ComposeStack } from './compose-stack.ts';
import { docker, type Images } from './engine.ts';
import { goesOn } from './goes-on.ts';
import { NodeDir } from './node-dir.ts';

const MAKE_MS = 300_000;
const START_MS = 120_000;

export function describeCompose(images: () => Images): void {
  describe('services of the compose file', () => {
    let node: NodeDir;
    let stack: ComposeStack;
    let client: Millibox;
    let sandbox: Sandbox;
    const ready = (): Promise<void> =>
      until(async () => (await fetch(`${stack.url}/readyz`)).ok, START_MS, 'a gateway with a node');

    beforeAll(async () => {
      node = await NodeDir.make();
      stack = await ComposeStack.open(images(), node);
      client = new Millibox({ url: stack.url, apiKey: stack.key, resumeMs: START_MS });
    }, MAKE_MS);
    afterAll(async () => {
      await client?.[Symbol.asyncDispose]();
      await stack?.[Symbol.asyncDispose]();
      await node?.[Symbol.asyncDispose]();
    }, START_MS);

    test('become healthy, and use Redis', async () => {
      await ready();
      await until(
        async () => (await stack.inspect('gateway', '{{.State.Health.Status}}')) === 'healthy',
        START_MS,
        'a healthy gateway',
      );
      expect(await (await fetch(`${stack.url}/metrics`)).text()).toContain('millibox_redis_up 1');
    });

    test('run the gateway as an unprivileged user, on a read-only file system', async () => {
      expect(await docker('exec', stack.container('gateway'), 'id', '-u')).toBe('65532');
      await expect(docker('exec', stack.container('gateway'), 'touch', '/tmp/note')).rejects.toThrow('Read-only');
    });

    test('create a sandbox from an image in a registry', async () => {
      sandbox = await client.sandboxes.create();
      const { stdout } = await sandbox.exec('echo kept > /tmp/note; cat /proc/1/comm');
      expect(stdout).toBe('boxinit\n');
    });

    test('have an agent that the engine restarts when killed, and sandboxes continue', async () => {
      const killed = await goesOn(sandbox, async () => {
        const first = await stack.inspect('agent', '{{.State.Pid}}');
        kill(Number(first), 'SIGKILL');
        const another = async (): Promise<boolean> =>
          !['0', first].includes(await stack.inspect('agent', '{{.State.Pid}}'));
        await until(another, START_MS, 'another agent');
      });
      expect(killed).toBe('whole');
    });

    test('are upgraded, and sandboxes continue', async () => {
      const upgraded = await goesOn(sandbox, () =>
        stack.compose('up', '--no-build', '--detach', '--force-recreate', 'agent', 'gateway'),
      );
      expect(upgraded).toBe('whole');
      expect((await sandbox.exec('cat /tmp/note')).stdout).toBe('kept\n');
      await ready();
      const made = await client.sandboxes.create({ diskMb: 64 });
      expect((await made.exec('df -m /')).stdout).toContain('overlay');
    });

    test('reveal no secret in their logs', async () => {
      const logs = (await Promise.all([stack.logs('agent'), stack.logs('gateway')])).join('');
      expect(logs).toContain('agent_ready');
      expect(stack.secrets.filter((secret) => logs.includes(secret))).toEqual([]);
    });

    test('leave sandboxes running when stopped, and find them again', async () => {
      await stack.compose('stop', 'gateway', 'agent');
      expect(node.sandboxes().length).toBeGreaterThan(0);
      for (const pid of node.sandboxes()) expect(kill(pid, 0)).toBe(true);
      await stack.compose('start', 'agent', 'gateway');
      await ready();
      expect((await sandbox.exec('cat /tmp/note')).stdout).toBe('kept\n');
    });

    test('leave nothing on the machine if configured so', async () => {
      stack.destroyAtStop();
      await stack.compose('up', '--no-build', '--detach', '--no-deps', 'agent');
      await until(async () => (await stack.logs('agent')).includes('agent_ready'), START_MS, 'the last agent');
      await stack.compose('stop', 'agent');
      expect(await node.left()).toEqual([]);
    });
  });
}
