/**
 * Agents and gateways killed and stopped, links cut, flapping and silent, Redis restarted, emptied, full, slow and
 * without writes, under rollouts and batches: every failure is typed, nothing is made or runs twice, nothing is leaked,
 * and the service is whole again within a minute.
 *
 * MILLIBOX_TEST_CHAOS_MS says for how long, MILLIBOX_TEST_SEED repeats a choice of faults.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readIfThereSync } from '../../src/lib/whole-file.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Millibox } from '../../src/sdk/index.ts';
import { amount } from '../helpers/config.ts';
import { freePort } from '../helpers/ports.ts';
import { random } from '../helpers/random.ts';
import { lackingRedis, RedisServer } from '../helpers/redis.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';
import { accountOf, loggedOf, type Call, type Fault } from './account.ts';
import { batch } from './batch.ts';
import { ALLOWED, LONGEST_FAULT_MS, breakInTurn, type FaultKind } from './faults.ts';
import { Link } from './link.ts';
import { rollout, type Outcome } from './rollout.ts';

const LENGTH_MS = amount('MILLIBOX_TEST_CHAOS_MS', 25_000);
const SEED = amount('MILLIBOX_TEST_SEED', Date.now() % 1_000_000_000);
const LIMIT_MS = LENGTH_MS + 600_000;
const AT_ONCE = 9;
/** This many workers create batches of up to this many sandboxes, at times more than there is room for. */
const BATCHERS = 2;
const MAX_BATCH = 7;
/** Per node: some rollouts are queued at any time. */
const ROOM = 3;
const RECOVERY_MS = 60_000;
/** A fault has effects after its end, while lost parts recover. */
const FELT_MS = LONGEST_FAULT_MS + RECOVERY_MS;
/** This many failed rollouts are described in full. */
const MAX_TOLD = 5;
const LABELS = { chaos: String(SEED) };

describe.skipIf(lackingRedis !== null)('chaos', () => {
  let redis: RedisServer;
  let stack: TestStack;
  let nodeLinks: Link[] = [];
  let redisLink: Link;
  let clientLinks: Link[] = [];
  const urls = (): string[] => clientLinks.map(({ port }) => `http://127.0.0.1:${port}`);

  beforeAll(async () => {
    redis = await RedisServer.start();
    redisLink = await Link.to(redis.port);
    const agentPorts = [await freePort(), await freePort()];
    nodeLinks = await Promise.all(agentPorts.map((port) => Link.to(port)));
    const nodes = nodeLinks.map(({ port }, i) => `node-${i + 1}=ws://127.0.0.1:${port}`);
    stack = await startStack({
      gateways: 2,
      agents: 2,
      pool: 3,
      agentPorts,
      agentEnv: { MILLIBOX_MAX_SANDBOXES: String(ROOM) },
      gatewayEnv: {
        MILLIBOX_NODES: nodes.join(','),
        MILLIBOX_REDIS_URL: redis.url().replace(`:${redis.port}`, `:${redisLink.port}`),
      },
    });
    clientLinks = await Promise.all(stack.urls.map((url) => Link.to(Number(new URL(url).port))));
  }, LIMIT_MS);
  afterAll(async () => {
    await stack?.stop();
    for (const link of [...clientLinks, ...nodeLinks, redisLink]) await link?.[Symbol.asyncDispose]();
    await redis?.[Symbol.asyncDispose]();
  }, LIMIT_MS);

  test('every failure is typed, nothing runs twice, nothing is leaked', { timeout: LIMIT_MS }, async () => {
    const faults: (Fault & { kind: FaultKind })[] = [];
    const outcomes: Outcome[] = [];
    let going = true;
    const worker = async (number: number): Promise<void> => {
      for (let i = 0; going; i++) {
        const from = performance.now();
        const service = { urls: urls(), apiKey: stack.apiKey };
        const outcome =
          number < BATCHERS
            ? await batch(service, 1 + (i % MAX_BATCH), LABELS)
            : await rollout(service, `rollout-${number}-${i}`, LABELS);
        outcomes.push(outcome);
        const felt = faults.filter(({ at }) => at > from - FELT_MS).map(({ kind }) => kind);
        const allowed = new Set<string | null>(felt.flatMap((kind) => ALLOWED[kind]));
        for (const { during, code, message } of outcome.failures) {
          if (!allowed.has(code)) outcome.wrong.push(`${during}: not to be told so: ${code ?? 'no code'}: ${message}`);
        }
      }
    };
    const workers = Promise.all(Array.from({ length: AT_ONCE }, (_, number) => worker(number)));
    try {
      await breakInTurn({ stack, redis, clientLinks, nodeLinks, redisLink }, random(SEED), LENGTH_MS, (kind, aim) => {
        const what = `${aim.index + 1} ${aim.direction}`;
        const fault = { kind, what, at: performance.now(), mendedAt: Infinity };
        faults.push(fault);
        return () => (fault.mendedAt = performance.now());
      });
      const recovered = await Promise.all(urls().map((url, i) => recovery(url, i)));
      going = false;
      await workers;
      for (const { wrong, calls } of outcomes) {
        const slow = calls.filter((call) => wholeMs(call, faults) > RECOVERY_MS);
        for (const { during } of slow) wrong.push(`${during}: took more than a minute in which nothing was broken`);
      }
      console.info(
        report(
          outcomes,
          faults.map(({ kind }) => kind),
          recovered,
        ),
      );
      const bad = outcomes.filter(({ wrong }) => wrong.length > 0).map((outcome) => account(outcome, faults));
      if (bad.length > 0) throw new Error(`${bad.length} went wrong\n${bad.slice(0, MAX_TOLD).join('\n\n')}`);
      expect(outcomes.some(({ checked }) => checked)).toBe(true);
      await nothingLeft();
    } catch (error) {
      throw new Error(`with MILLIBOX_TEST_SEED=${SEED}: ${String(error)}\n${stack.logs()}`, { cause: error });
    } finally {
      going = false;
      await workers.catch(() => undefined);
    }
  });

  function account({ name, wrong, sandboxes, calls }: Outcome, faults: readonly Fault[]): string {
    const logged = loggedOf(join(stack.home, 'log'), sandboxes, calls);
    const rest = [accountOf(calls, faults, RECOVERY_MS), 'logged:', logged].join('\n');
    return `${name} ${sandboxes.join(' ')}\n${wrong.map((line) => `! ${line}`).join('\n')}\n${rest}`;
  }

  /** Runs new rollouts at one gateway until one succeeds. @returns after how many ms */
  async function recovery(url: string, gateway: number): Promise<number> {
    const from = performance.now();
    const service = { urls: [url], apiKey: stack.apiKey };
    let tries = 0;
    await until(
      async () => {
        const { checked, failures, wrong } = await rollout(service, `after-${gateway}-${tries++}`, LABELS);
        if (failures.length > 0) throw new Error(JSON.stringify(failures));
        return checked && wrong.length === 0;
      },
      RECOVERY_MS,
      `a rollout at gateway ${gateway} after the last fault`,
    );
    return Math.round(performance.now() - from);
  }

  /** Sandboxes that a gateway shows as alive. */
  async function alive(url: string): Promise<unknown[]> {
    await using client = new Millibox({ url, apiKey: stack.apiKey });
    const all: unknown[] = [];
    for await (const sandbox of client.sandboxes.list({ labels: LABELS })) {
      if (!/^(TERMINATED|ERROR|TIMEOUT)$/.test(sandbox.info.status)) all.push(sandbox.info);
    }
    return all;
  }

  /** Sandboxes listed as running exist; and once all are deleted, no agent holds a claimed container. */
  async function nothingLeft(): Promise<void> {
    await stack.ready();
    for (const url of stack.urls) {
      await using client = new Millibox({ url, apiKey: stack.apiKey });
      for await (const sandbox of client.sandboxes.list({ labels: LABELS, status: 'RUNNING' })) {
        // Left by a rollout that could not delete it. A line that appears twice was run twice.
        const twice = await sandbox.exec('sort /tmp/lines | uniq -d; echo there').catch(isBeingDeleted);
        if (twice !== 'deleted') expect(twice.stdout).toBe('there\n');
      }
    }
    const [first = ''] = stack.urls;
    await using client = new Millibox({ url: first, apiKey: stack.apiKey });
    await until(
      async () => {
        await client.sandboxes.deleteByLabel(LABELS);
        return ['node-1', 'node-2'].flatMap((node) => claimed(stack, node)).length === 0;
      },
      RECOVERY_MS,
      'every claimed container to be gone',
    );
    for (const [gateway, url] of stack.urls.entries()) {
      const counted = until(
        async () => {
          // One that nobody was waiting for any more may have reached a node only now.
          await client.sandboxes.deleteByLabel(LABELS);
          return (await stack.operatorOf(gateway).nodes()).every(({ sandboxes }) => sandboxes === 0);
        },
        RECOVERY_MS,
        `gateway ${gateway} to count no sandbox`,
      );
      await counted.catch(async (cause: unknown) => {
        throw new Error(`${String(cause)}; it has ${JSON.stringify(await alive(url))}`, { cause });
      });
    }
  }
});

/** A delete whose client was told of a failure, or a create that is taken back, may be carried out only now. */
function isBeingDeleted(error: unknown): 'deleted' {
  if (error instanceof ServiceError && error.code === 'sandbox_ended' && error.details?.['reason'] === 'deleted') {
    return 'deleted';
  }
  throw error;
}

/** Containers of an agent that belong to a sandbox: their file says so after its first line. */
function claimed(stack: TestStack, node: string): string[] {
  const root = join(stack.home, node, 'c');
  return readdirSync(root).filter((id) => {
    // A container being created or removed may have no file.
    return (readIfThereSync(join(root, id, 'meta.json')) ?? '')
      .split('\n')
      .slice(1)
      .some((line) => line !== '');
  });
}

/** How much of a call's time was free of faults. */
function wholeMs({ from, to }: Call, faults: readonly Fault[]): number {
  const broken = faults.map(({ at, mendedAt }) => Math.max(0, Math.min(mendedAt, to) - Math.max(at, from)));
  return to - from - broken.reduce((sum, ms) => sum + ms, 0);
}

function report(outcomes: readonly Outcome[], faults: readonly string[], recoveredMs: readonly number[]): string {
  const commands = outcomes.reduce((sum, outcome) => sum + outcome.commands, 0);
  const failures = outcomes.flatMap((outcome) => outcome.failures);
  // Ten minutes make more calls than a function can have arguments.
  const slowestMs = outcomes.flatMap(({ calls }) => calls).reduce((most, { from, to }) => Math.max(most, to - from), 0);
  return `chaos ${JSON.stringify({
    seed: SEED,
    rollouts: outcomes.length,
    whole: outcomes.filter((outcome) => outcome.checked && outcome.failures.length === 0).length,
    commands,
    failures: counts(failures.map(({ during, code }) => `${during}: ${code ?? 'no code'}`)),
    faults: counts(faults),
    slowestMs: Math.round(slowestMs),
    recoveredMs,
  })}`;
}

function counts(names: readonly string[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name of names) all[name] = (all[name] ?? 0) + 1;
  return all;
}
