/** The chart's pods, running as docs/deploy.md promises. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { until } from '../helpers/until.ts';
import { ChartNode } from './chart-node.ts';
import { docker, type Images } from './engine.ts';
import { goesOn } from './goes-on.ts';
import { NodeDir } from './node-dir.ts';
import type { Pod } from './pod.ts';

const MAKE_MS = 300_000;
const START_MS = 120_000;

export function describeChart(images: () => Images): void {
  describe('pods of the chart', () => {
    let node: NodeDir;
    let chart: ChartNode;
    let agent: Pod;
    let gateway: Pod;
    let client: Millibox;
    let sandbox: Sandbox;
    let online: Sandbox;
    const passes = (pod: Pod, probe: 'startupProbe' | 'readinessProbe' | 'livenessProbe'): Promise<void> =>
      until(() => pod.passes(pod.container[probe]), START_MS, `the ${probe} of ${pod.id}`);
    const clientOf = (urls: string[]): Millibox => new Millibox({ urls, apiKey: chart.key, resumeMs: START_MS });

    beforeAll(async () => {
      node = await NodeDir.make();
      chart = await ChartNode.open(images(), node);
      agent = await chart.startAgent('agent-1');
      gateway = await chart.startGateway('gateway-1');
      client = clientOf([await gateway.url('http')]);
    }, MAKE_MS);
    afterAll(async () => {
      await client?.[Symbol.asyncDispose]();
      await chart?.[Symbol.asyncDispose]();
      await node?.[Symbol.asyncDispose]();
    }, START_MS);

    test('pass all their probes', async () => {
      for (const pod of [agent, gateway]) {
        for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const) await passes(pod, probe);
      }
    });

    test('of gateways have no rights, and a read-only file system', async () => {
      expect(await docker('exec', gateway.id, 'id', '-u')).toBe('65532');
      expect(await docker('exec', gateway.id, 'grep', 'CapBnd', '/proc/self/status')).toMatch(/\s0+$/);
      await expect(docker('exec', gateway.id, 'touch', '/tmp/note')).rejects.toThrow('Read-only');
    });

    test('listen only on the ports that the chart and its policies name', async () => {
      const named = (pod: Pod): number[] =>
        (pod.container.ports ?? []).map(({ containerPort }) => containerPort).sort();
      expect(await agent.openPorts()).toEqual(named(agent));
      expect(await gateway.openPorts()).toEqual(named(gateway));
      for (const [pod, component] of [
        [agent, 'agent'],
        [gateway, 'gateway'],
      ] as const) {
        const { ingress } = chart.manifest('NetworkPolicy', component).spec as {
          ingress: { ports: { port: string }[] }[];
        };
        const opened = ingress.flatMap(({ ports }) => ports.map(({ port }) => port)).sort();
        expect(opened).toEqual((pod.container.ports ?? []).map(({ name }) => name).sort());
      }
    });

    test('of agents serve metrics to others on one port, and not on that of the links', async () => {
      expect(await (await fetch(`${await agent.url('metrics')}/metrics`)).text()).toContain('millibox_');
      expect((await fetch(`${await agent.url('node-link')}/metrics`)).ok).toBe(false);
      expect(await (await fetch(`${await gateway.url('http')}/metrics`)).text()).toContain(
        'millibox_nodes{state="ready"} 1',
      );
    });

    test('create a sandbox from an image that the pull secret opens', async () => {
      sandbox = await client.sandboxes.create();
      const { stdout } = await sandbox.exec('echo kept > /tmp/note; cat /proc/1/comm');
      expect(stdout).toBe('boxinit\n');
    });

    test('have no sandbox process in their cgroups', async () => {
      const ids = await Promise.all([agent, gateway].map((pod) => docker('inspect', '--format', '{{.Id}}', pod.id)));
      const processes = node.sandboxes();
      expect(processes.length).toBeGreaterThan(0);
      for (const pid of processes) {
        const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
        expect(ids.filter((id) => groups.includes(id))).toEqual([]);
      }
    });

    test('give a sandbox a network attached to the node, which reaches neither them nor the node', async () => {
      online = await client.sandboxes.create({ network: 'internet' });
      const reach = 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)';
      for (const pod of [agent, gateway]) {
        const { hostname, port } = new URL(await pod.url(pod.container.ports?.[0]?.name ?? ''));
        const { exitCode, stderr } = await online.exec(['python3', '-c', reach, hostname, port]);
        expect(`${exitCode} ${stderr.trim().split('\n').at(-1)}`).toMatch(
          /^1 .*(Permission denied|No route|unreachable)/,
        );
      }
      expect(await node.left()).toEqual(expect.arrayContaining([expect.stringContaining('mbx-')]));
    });

    test('of agents that crash do not affect sandboxes and commands', async () => {
      expect(await goesOn(sandbox, () => agent.crash())).toBe('whole');
      expect((await sandbox.exec('cat /tmp/note')).stdout).toBe('kept\n');
      await passes(agent, 'readinessProbe');
    });

    test('of agents are replaced, and sandboxes continue', async () => {
      const replaced = await goesOn(sandbox, async () => {
        await agent.end();
        agent = await chart.startAgent('agent-2');
      });
      expect(replaced).toBe('whole');
      expect((await sandbox.exec('cat /tmp/note')).stdout).toBe('kept\n');
      expect((await online.exec('cat /proc/net/route')).stdout).toContain('eth0');
    });

    test('of agents give a disk to a container that was warm before the replacement', async () => {
      const made = await client.sandboxes.create({ diskMb: 64 });
      const { stdout } = await made.exec("df -m / | tail -n 1 | awk '{ print $2 }'");
      expect(Number(stdout)).toBeGreaterThan(40);
      expect(Number(stdout)).toBeLessThanOrEqual(64);
    });

    test('of gateways are replaced under load, and no command fails', async () => {
      const next = await chart.startGateway('gateway-2');
      await passes(next, 'readinessProbe');
      await using both = clientOf([await gateway.url('http'), await next.url('http')]);
      const same = await both.sandboxes.get(sandbox.id);
      let over = false;
      const load = (async () => {
        const wrong: string[] = [];
        let done = 0;
        while (!over) {
          const { stdout } = await same.exec(`echo ${done}`);
          if (stdout !== `${done}\n`) wrong.push(stdout);
          done += 1;
        }
        return { wrong, done };
      })();
      const replaced = goesOn(same, () => gateway.end());
      expect(await replaced).toBe('whole');
      over = true;
      const { wrong, done } = await load;
      expect(wrong).toEqual([]);
      expect(done).toBeGreaterThan(10);
      gateway = next;
    });

    test('reveal no secret in their logs', async () => {
      const logs = (await Promise.all([agent.logs(), gateway.logs()])).join('');
      expect(logs).toContain('agent_ready');
      expect(chart.secrets.length).toBeGreaterThan(3);
      expect(chart.secrets.filter((secret) => logs.includes(secret))).toEqual([]);
    });

    test('of agents leave nothing on their node if configured so', async () => {
      await agent.end();
      const last = await chart.startAgent('agent-3', 'destroy');
      await passes(last, 'readinessProbe');
      await last.end();
      expect(await node.left()).toEqual([]);
    });
  });
}
