/** The faults of the chaos run: one at a time, in an order determined by a seed. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorCode } from '../../src/protocol/errors.ts';
import type { Random } from '../helpers/random.ts';
import type { RedisServer } from '../helpers/redis.ts';
import type { TestStack } from '../helpers/stack.ts';
import type { Direction, Link } from './link.ts';

export interface Breakable {
  stack: TestStack;
  redis: RedisServer;
  /** Between clients and each gateway. */
  clientLinks: readonly Link[];
  /** Between the gateways and each agent. */
  nodeLinks: readonly Link[];
  /** Between all gateways and Redis. */
  redisLink: Link;
}

/** While a part is away, calls that need it are refused, and those in progress may not learn their outcome. */
const AWAY: readonly ErrorCode[] = [
  'node_unavailable',
  'capacity_exhausted',
  'deadline_exceeded',
  'interrupted',
  'draining',
];
/** A node lost for longer than its grace period takes its sandboxes with it while it is lost. */
const NODE: readonly ErrorCode[] = [...AWAY, 'sandbox_ended', 'sandbox_not_found', 'sandbox_not_ready'];

/** The errors that callers may see because of each kind of fault. */
export const ALLOWED = {
  'agent killed': NODE,
  'agent stopped': NODE,
  'node link cut': NODE,
  'node link silent': NODE,
  'gateway killed': [...AWAY, 'sandbox_not_found'],
  'gateway stopped': [...AWAY, 'sandbox_ended', 'sandbox_not_found'],
  'client link cut': AWAY,
  'client link silent': AWAY,
  'node link flapping': NODE,
  'redis killed': AWAY,
  // A queued create admitted by a gateway that has gone since is lost with it: it ends, or is unknown to others.
  'redis emptied': [...AWAY, 'sandbox_ended', 'sandbox_not_found'],
  'redis full': AWAY,
  'redis a replica': AWAY,
  'redis slow': AWAY,
} as const satisfies Record<string, readonly ErrorCode[]>;

export type FaultKind = keyof typeof ALLOWED;

const KINDS = Object.keys(ALLOWED) as FaultKind[];

/** How long a fault lasts: usually less than the callers' patience, rarely longer than a node's grace period. */
const SHORTEST_MS = 300;
const LONGEST_MS = 3_500;
const OUTAGES = 0.1;
const OUTAGE_MS = 40_000;
export const LONGEST_FAULT_MS = OUTAGE_MS;
const PAUSE_MS = 1_000;
/** A flapping link is alternately down and up for this long. */
const FLAP_MS = 500;
/** Each way. */
const SLOW_MS = 250;

/** Which of two parts, or of two directions, a fault hits. */
interface Aim {
  index: number;
  direction: Direction;
}

/**
 * Injects one fault after the other until time is up, repairing each before the next. Reports each as it begins, and
 * calls what that returned once it is repaired.
 */
export async function breakInTurn(
  on: Breakable,
  choice: Random,
  lengthMs: number,
  tell: (kind: FaultKind, aim: Aim) => () => void,
): Promise<void> {
  const end = performance.now() + lengthMs;
  let left: FaultKind[] = [];
  while (performance.now() < end) {
    // Each kind once before any is repeated.
    if (left.length === 0) left = [...KINDS];
    const [kind] = left.splice(choice.between(0, left.length - 1), 1) as [FaultKind];
    // A short run has no time for an outage.
    const outage = choice.next() < OUTAGES && lengthMs > 2 * OUTAGE_MS;
    const forMs = outage ? OUTAGE_MS : choice.between(SHORTEST_MS, LONGEST_MS);
    const aim: Aim = { index: choice.between(0, 1), direction: choice.next() < 0.5 ? 'there' : 'back' };
    const mended = tell(kind, aim);
    await breakOnce(on, kind, aim, forMs);
    mended();
    await sleep(choice.between(0, PAUSE_MS));
  }
}

async function breakOnce(on: Breakable, kind: FaultKind, { index, direction }: Aim, forMs: number): Promise<void> {
  const { stack, redis } = on;
  switch (kind) {
    case 'agent killed':
      await stack.killAgent(index);
      await sleep(forMs);
      return stack.restartAgent(index);
    case 'gateway killed':
      await stack.killGateway('SIGKILL', index);
      await sleep(forMs);
      return stack.restartGateway(index);
    case 'redis killed':
    case 'redis emptied':
      await redis.kill();
      await sleep(forMs);
      return await redis.restart({ empty: kind === 'redis emptied' });
    case 'redis full':
      await redis.order('CONFIG SET maxmemory 1');
      await sleep(forMs);
      return await redis.order('CONFIG SET maxmemory 0');
    case 'redis a replica':
      await redis.order('REPLICAOF 127.0.0.1 1');
      await sleep(forMs);
      return await redis.order('REPLICAOF NO ONE');
    case 'redis slow':
      on.redisLink.slow(SLOW_MS);
      await sleep(forMs);
      return on.redisLink.heal();
    case 'node link flapping':
      for (let ms = 0; ms < forMs; ms += 2 * FLAP_MS) {
        on.nodeLinks[index]?.cut();
        await sleep(FLAP_MS);
        on.nodeLinks[index]?.heal();
        await sleep(FLAP_MS);
      }
      return;
    case 'agent stopped':
      return await standStill(stack.agentPids[index], forMs);
    case 'gateway stopped':
      return await standStill(stack.gatewayPids[index], forMs);
    case 'node link cut':
    case 'client link cut':
    case 'node link silent':
    case 'client link silent': {
      const link = (kind.startsWith('node') ? on.nodeLinks : on.clientLinks)[index];
      if (kind.endsWith('cut')) link?.cut();
      else link?.silence(direction);
      await sleep(forMs);
      link?.heal();
    }
  }
}

async function standStill(pid: number | undefined, forMs: number): Promise<void> {
  if (pid === undefined || pid === 0) throw new Error('there is no process to stop');
  process.kill(pid, 'SIGSTOP');
  try {
    await sleep(forMs);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}
