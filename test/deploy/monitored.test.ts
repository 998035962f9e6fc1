/** Metrics that the dashboard and the documented alerts query are served by a real service. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { load } from 'js-yaml';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../helpers/ports.ts';
import { lackingRedis, RedisServer } from '../helpers/redis.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { CHART, ROOT } from './tools.ts';

/** Labels added by the scraper, and of histograms and summaries. */
const FOREIGN_LABELS = ['instance', 'job', 'namespace', 'pod', 'le', 'quantile'];

interface Metrics {
  /** All with a type, whether or not there is a sample yet. */
  names: Set<string>;
  /** Label names by metric, for those with samples. */
  labels: Map<string, Set<string>>;
}

async function scrape(url: string): Promise<Metrics> {
  const { statusCode, body, headers } = await request(url);
  expect(statusCode).toBe(200);
  expect(headers['content-type']).toMatch(/^text\/plain/);
  const text = await body.text();
  const names = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name ?? ''));
  const labels = new Map<string, Set<string>>();
  for (const [, sample = '', inside = ''] of text.matchAll(/^(millibox_\w+)(?:\{(.*)\})? /gm)) {
    const known = labels.get(baseOf(sample, names)) ?? new Set();
    for (const [, label = ''] of inside.matchAll(/(\w+)="/g)) known.add(label);
    labels.set(baseOf(sample, names), known);
  }
  return { names, labels };
}

/** Samples of histograms and summaries have other names. */
const baseOf = (name: string, names: ReadonlySet<string>): string =>
  names.has(name) ? name : name.replace(/_(bucket|count|sum)$/, '');

const dashboard = JSON.parse(readFileSync(path.join(CHART, 'dashboards/millibox.json'), 'utf8')) as {
  panels: { targets?: { expr: string }[] }[];
};
const shown = dashboard.panels.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);

const operations = readFileSync(path.join(ROOT, 'docs/operations.md'), 'utf8');
const [, rules = ''] = /```yaml\n(groups:[\s\S]*?)```/.exec(operations) ?? [];
const alerts = (load(rules) as { groups: { rules: { alert: string; expr: string }[] }[] }).groups
  .flatMap((group) => group.rules)
  .map(({ expr }) => expr);
/** Names in the documentation's tables. */
const described = [...operations.matchAll(/^\| `(millibox_[^`]+)` \|/gm)].map(([, expr]) => expr ?? '');

describe.skipIf(lackingRedis !== null)('metrics of a real service', () => {
  let dir: string;
  let redis: RedisServer;
  let stack: TestStack;
  let there: Metrics;
  beforeAll(async () => {
    dir = mkdtempSync(path.join(tmpdir(), 'monitored-'));
    const tenantsFile = path.join(dir, 'tenants.json');
    const sha256 = createHash('sha256').update('key-of-a-tenant').digest('hex');
    writeFileSync(tenantsFile, JSON.stringify({ tenants: { team: { sandboxes: 10, keys: [{ sha256 }] } } }));
    redis = await RedisServer.start();
    const agentMetrics = `127.0.0.1:${await freePort()}`;
    stack = await startStack({
      pool: 1,
      agentEnv: { MILLIBOX_AGENT_METRICS_LISTEN: agentMetrics },
      gatewayEnv: { MILLIBOX_REDIS_URL: redis.url(), MILLIBOX_TENANTS_FILE: tenantsFile },
    });
    const sandbox = await stack.client.sandboxes.create({ memoryMb: 64 });
    await sandbox.exec('true');
    await sandbox.delete();
    const [gateway, agent] = [await scrape(`${stack.url}/metrics`), await scrape(`http://${agentMetrics}/metrics`)];
    const names = new Set([...gateway.names, ...agent.names]);
    const labels = new Map(gateway.labels);
    for (const [name, own] of agent.labels) labels.set(name, new Set([...(labels.get(name) ?? []), ...own]));
    there = { names, labels };
  });
  afterAll(async () => {
    await stack?.stop();
    await redis?.[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  test.each([
    ['the dashboard', shown, 30],
    ['the alerts', alerts, 4],
    ['the table of what to watch', described, 9],
  ])('%s: every metric is there, with every label that is asked for', (_name, expressions, least) => {
    const asked = expressions.flatMap((expr) => [...expr.matchAll(/\b(millibox_\w+)(?:\{([^}]*)\})?/g)]);
    expect(asked.length).toBeGreaterThanOrEqual(least);
    const lacking: string[] = [];
    for (const [, name = '', inside = ''] of asked) {
      const base = baseOf(name, there.names);
      if (!there.names.has(base)) lacking.push(name);
      const known = there.labels.get(base);
      for (const [, label = ''] of inside.matchAll(/(\w+)\s*[=!]~?=?\s*"/g)) {
        if (known !== undefined && known.size > 0 && !known.has(label) && !FOREIGN_LABELS.includes(label)) {
          lacking.push(`${name}: ${label}`);
        }
      }
    }
    expect([...new Set(lacking)]).toEqual([]);
  });
});
