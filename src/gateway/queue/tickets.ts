/**
 * Tickets as BullMQ keeps them: a queue per tenant, a job per ticket, named after its sandbox. BullMQ knows who holds a
 * job (a lock that expires by itself, see locks.ts), puts a job back ahead of younger ones, and frees those of a dead
 * gateway. Whose turn it is, and whether there is room at all, is decided before a job is taken (docs/adr/0007).
 */
import type * as BullModule from 'bullmq';
import type { Job, Queue, Worker } from 'bullmq';
import * as z from 'zod';
import { withDeadline } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { SandboxSpec } from '../../protocol/node.ts';
import { BULL_PREFIX, KEYS } from '../redis/keys.ts';
import { unavailable, type RedisLink } from '../redis/link.ts';
import { OWNER_KEPT_MS } from '../redis/owners.ts';
import { Script } from '../redis/script.ts';
import { Locks } from './locks.ts';
import type { Permit, Ticket } from './queue.ts';

export interface TicketsOptions {
  link: RedisLink;
  log: Logger;
  /** A ticket whose lock has not been renewed for this long may be taken by another gateway. */
  lockMs: number;
}

/** A ticket that this gateway holds, until `done`, `back`, or its lock expires. */
export interface Taken extends Permit {
  readonly ticket: Ticket;
  /**
   * It is on a node, or nobody wants it any more. @returns false if the lock had expired and the ticket is still there
   * @throws ServiceError `node_unavailable`
   */
  done(): Promise<boolean>;
  /**
   * Puts it back at the front of its tenant's line. `nowhere`: no node has it, for certain.
   * @throws ServiceError `node_unavailable`
   */
  back(nowhere?: boolean): Promise<void>;
}

type Bull = typeof BullModule;
interface Line {
  queue: Queue;
  worker: Worker;
}

const CALL_MS = 4_000;
/** How often, per lock duration, all gateways together look for tickets of dead gateways. */
export const LOOKS = 4;
/** BullMQ's priorities begin at 1, which goes first. */
const MIDDLE_PRIORITY = 1_000_000;
/** Tenants whose queue objects are kept; they hold no connection. */
const MAX_LINES = 1_000;

/** Fields that a newer gateway added to the spec are passed to the node unchanged. */
const TicketData = z.object({
  spec: z.looseObject(SandboxSpec.shape),
  priority: z.number(),
  weight: z.number().optional(),
});

/** The holder of the lock of a waiting ticket may record the node it is about to send it to. */
const CLAIM = new Script(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
  if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return 'ended' end
  if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 'gone' end
  redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
  return 'granted'`);

/** The holder of the lock may record that the node does not have it after all. */
const UNCLAIM = new Script(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('DEL', KEYS[2])`);

const ADVANCE = new Script(`
  if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
  return 1`);

const bullPriority = (priority: number): number =>
  Math.max(1, Math.min(2 * MIDDLE_PRIORITY, MIDDLE_PRIORITY - priority));
const lockOf = (worker: Worker, id: string): string => `${worker.toKey(id)}:lock`;

export class Tickets {
  readonly #bull: Bull;
  readonly #link: RedisLink;
  readonly #log: Logger;
  readonly #lockMs: number;
  readonly #locks: Locks;
  readonly #lines = new Map<string, Line>();
  #takes = 0;
  readonly #name = crypto.randomUUID();

  private constructor(bull: Bull, { link, log, lockMs }: TicketsOptions) {
    this.#bull = bull;
    this.#link = link;
    this.#log = log;
    this.#lockMs = lockMs;
    this.#locks = new Locks({ lockMs, log, ask: (work) => this.#ask(work) });
  }

  static async open(options: TicketsOptions): Promise<Tickets> {
    return new Tickets(await import('bullmq'), options);
  }

  /** A ticket that already has this id is left as it is. @throws ServiceError `node_unavailable` */
  async add(ticket: Ticket): Promise<void> {
    const { id, tenant } = ticket.spec;
    await this.#ask(() =>
      this.#line(tenant).queue.add('ticket', ticket, {
        jobId: id,
        priority: bullPriority(ticket.priority),
        removeOnComplete: true,
        removeOnFail: true,
      }),
    );
  }

  /** The first ticket of a tenant's line that nobody else holds, if any. @throws ServiceError `node_unavailable` */
  async take(tenant: string): Promise<Taken | null> {
    const { worker } = this.#line(tenant);
    const token = `${this.#name}:${(this.#takes += 1)}`;
    // The lock begins no earlier than this.
    const since = performance.now();
    const job = (await this.#ask(() => worker.getNextJob(token, { block: false }))) as Job | undefined;
    if (job?.id === undefined) return null;
    const parsed = TicketData.safeParse(job.data);
    if (!parsed.success || parsed.data.spec.id !== job.id) {
      await this.#pass(job, token);
      return null;
    }
    const { spec, priority, weight } = parsed.data;
    // Renewed from now on, so that it holds however slowly Redis answers the calls below.
    const lock = this.#locks.keep(worker, spec.id, token, since);
    const triedOn = await this.#link
      .run((client) => client.get(KEYS.owner(spec.id)))
      .catch((error: unknown) => {
        lock.release();
        throw error;
      });
    const lockKey = lockOf(worker, spec.id);
    return {
      ticket: { spec, priority, ...(weight === undefined ? {} : { weight }) },
      triedOn,
      claim: (node) => this.#claim(lockKey, token, spec.id, node),
      holds: () => lock.holds(),
      done: async () => {
        lock.release();
        return await this.#unlessLost(() => job.moveToCompleted(null, token, false));
      },
      back: async (nowhere = false) => {
        lock.release();
        if (nowhere) await UNCLAIM.run(this.#link, [lockKey, KEYS.owner(spec.id)], [token]);
        await this.#unlessLost(() => job.moveToWait(token));
      },
    };
  }

  /**
   * A ticket that cannot be parsed here: its lock expires by itself, so that a gateway of another version can take it.
   */
  async #pass(job: Job, token: string): Promise<void> {
    const id = String(job.id);
    const waits = await this.#link.run((client) => client.hexists(KEYS.waiting, id));
    this.#log.warn({ sandbox: id }, `a ticket cannot be read, and is ${waits === 1 ? 'left to others' : 'discarded'}`);
    if (waits === 0) await this.#ask(() => job.moveToCompleted(null, token, false));
  }

  /**
   * Which of these tickets a gateway has taken and neither finished nor put back, each with the token of its lock,
   * which is new each time. @throws ServiceError `node_unavailable`
   */
  async held(tenant: string, ids: readonly string[]): Promise<Map<string, string>> {
    const { worker } = this.#line(tenant);
    const locks = await this.#link.run((client) => client.mget(ids.map((id) => lockOf(worker, id))));
    return new Map(ids.flatMap((id, i) => (typeof locks[i] === 'string' ? [[id, locks[i]]] : [])));
  }

  /**
   * Puts a ticket that nobody holds ahead of all others of its priority: BullMQ keeps no order among those that were
   * put back. @returns whether it was there @throws ServiceError `node_unavailable`
   */
  async advance(tenant: string, id: string, priority: number): Promise<boolean> {
    const { worker } = this.#line(tenant);
    // BullMQ's score is the priority, shifted by 32 bits, plus a counter that is 0 for what was put back.
    const front = bullPriority(priority) * 2 ** 32 - 1;
    return (await ADVANCE.run(this.#link, [worker.toKey('prioritized')], [front, id])) === 1;
  }

  /**
   * Removes a ticket that nobody wants any more, unless it is already taken. @returns whether it is gone
   * @throws ServiceError `node_unavailable`
   */
  async drop(tenant: string, id: string): Promise<boolean> {
    return (await this.#ask(() => this.#line(tenant).queue.remove(id))) === 1;
  }

  /**
   * Records a node that was sent the ticket without a permit and may or may not have it. @throws ServiceError
   * `node_unavailable`
   */
  async tried(id: string, node: string): Promise<void> {
    await this.#link.run((client) => client.set(KEYS.owner(id), node, 'PX', OWNER_KEPT_MS));
  }

  /** Whether it was ever sent to a node, as far as recorded. @throws ServiceError `node_unavailable` */
  async wasSent(id: string): Promise<boolean> {
    return (await this.#link.run((client) => client.exists(KEYS.owner(id)))) === 1;
  }

  /**
   * Frees tickets of dead gateways (BullMQ calls such jobs "stalled"). BullMQ frees a job when two checks in a row find
   * its lock expired.
   * @returns whether one was freed
   */
  async recover(tenant: string): Promise<boolean> {
    const { worker } = this.#line(tenant);
    const freed = await this.#ask(() => worker.getBackend().moveStalledJobsToWait());
    return freed.length > 0;
  }

  async close(): Promise<void> {
    this.#locks.stop();
    await Promise.all([...this.#lines.keys()].map((tenant) => this.#drop(tenant)));
  }

  async #claim(lock: string, token: string, id: string, node: string): Promise<'granted' | 'lost' | 'ended' | 'gone'> {
    const keys = [lock, KEYS.waiting, KEYS.ended, KEYS.owner(id)];
    return (await CLAIM.run(this.#link, keys, [token, id, node, OWNER_KEPT_MS])) as never;
  }

  /** False: the lock has expired, and the job may be another gateway's. */
  async #unlessLost(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await this.#ask(work);
      return true;
    } catch (error) {
      if (!this.#link.up) throw error;
      this.#log.debug({}, 'a ticket was lost to another gateway');
      return false;
    }
  }

  /** BullMQ waits for Redis indefinitely; this adds a deadline, and keeps its error texts out of ours. */
  async #ask<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#link.up) throw unavailable();
    try {
      return await this.#link.run(() => withDeadline({ deadlineMs: CALL_MS, what: 'the shared queue' }, work));
    } catch (error) {
      // A late answer is as good as none.
      throw error instanceof ServiceError ? unavailable(error) : error;
    }
  }

  #line(tenant: string): Line {
    const known = this.#lines.get(tenant);
    if (known !== undefined) {
      this.#lines.delete(tenant);
      this.#lines.set(tenant, known);
      return known;
    }
    const [oldest] = this.#lines.keys();
    if (this.#lines.size >= MAX_LINES && oldest !== undefined) void this.#drop(oldest);
    const line = this.#open(tenant);
    this.#lines.set(tenant, line);
    return line;
  }

  #open(tenant: string): Line {
    const { Queue, Worker, createRedisBackend } = this.#bull;
    const shared = { connection: this.#link.client, prefix: BULL_PREFIX, skipVersionCheck: true };
    const queue = new Queue(tenant, { ...shared, streams: { events: { maxLen: 0 } } });
    // No processor function and no blocking connection: jobs are taken one by one, when there is room for them.
    const worker = new Worker(
      tenant,
      null,
      {
        ...shared,
        autorun: false,
        lockDuration: this.#lockMs,
        stalledInterval: Math.floor(this.#lockMs / LOOKS),
        // A ticket is never given up because gateways holding it died.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
      },
      (name, options) => createRedisBackend(name, options, {}),
    );
    // An `error` event without a listener would end the process; callers get the error anyway.
    queue.on('error', () => undefined);
    worker.on('error', () => undefined);
    return { queue, worker };
  }

  async #drop(tenant: string): Promise<void> {
    const line = this.#lines.get(tenant);
    this.#lines.delete(tenant);
    if (line === undefined) return;
    await Promise.allSettled([line.queue.close(), line.worker.close(true)]);
  }
}
