/** The Grafana dashboard only refers to existing metrics. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { AgentMetrics } from '../../agent/metrics.ts';
import { addProcessMetrics } from '../../src/lib/process-metrics.ts';
import { CHART, ROOT } from './tools.ts';

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}
const dashboard = JSON.parse(readFileSync(path.join(CHART, 'dashboards/millibox.json'), 'utf8')) as {
  panels: Panel[];
};
const expressions = dashboard.panels.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);

/** Those of any process, and names in the gateway's source text; those of tenants are built from two parts. */
function gatewayMetrics(): Set<string> {
  const root = path.join(ROOT, 'src/gateway');
  const registry = new Registry();
  addProcessMetrics(registry, 'millibox_');
  const names = new Set(registry.getMetricsAsArray().map(({ name }) => name));
  for (const file of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (path.basename(file) !== 'metrics.ts') continue;
    const text = readFileSync(path.join(root, file), 'utf8');
    for (const [name] of text.matchAll(/\bmillibox_[a-z_]+[a-z]\b/g)) names.add(name);
    const prefix = /name: `(millibox_[a-z_]+)\$\{/.exec(text)?.[1];
    if (prefix === undefined) continue;
    for (const [, name = ''] of text.matchAll(/#gauge\('([a-z_]+)'/g)) names.add(prefix + name);
  }
  return names;
}

async function agentMetrics(): Promise<Set<string>> {
  const metrics = new AgentMetrics({
    sandboxes: () => 0,
    pools: () => ({ warm: 0, starting: 0, target: 0 }),
    links: () => 0,
    linkBytes: () => ({ in: 0, out: 0 }),
  });
  metrics.started(1);
  const text = await metrics.text();
  return new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name ?? ''));
}

describe('the dashboard', () => {
  test('asks for metrics that gateways or agents have', async () => {
    const there = new Set([...gatewayMetrics(), ...(await agentMetrics())]);
    const asked = expressions.flatMap((expr) => [...expr.matchAll(/\bmillibox_[a-z0-9_]+/g)].map(([name]) => name));
    const base = (name: string): string => (there.has(name) ? name : name.replace(/_(bucket|count|sum)$/, ''));
    expect(asked.length).toBeGreaterThan(30);
    expect([...new Set(asked.map(base))].filter((name) => !there.has(name))).toEqual([]);
  });

  test('has balanced brackets', () => {
    for (const expr of expressions) {
      for (const [open, close] of ['()', '{}', '[]'].map((pair) => [...pair])) {
        expect(expr.split(open ?? '').length, expr).toBe(expr.split(close ?? '').length);
      }
    }
  });

  test('has no overlapping panels', () => {
    const cells = new Set<string>();
    for (const { title, gridPos } of dashboard.panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(x, title).toBeLessThan(24);
          expect(cells.has(`${x},${y}`), title).toBe(false);
          cells.add(`${x},${y}`);
        }
      }
    }
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  });
});
