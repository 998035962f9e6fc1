/**
 * Idempotency keys that all gateways share. The first gateway to get a key holds a lease, and renews it while it works;
 * the others wait for its answer. If that gateway dies or stalls, the next one does the work with the same seed and so
 * gets the same result. While Redis is unreachable each gateway keeps its own keys, and tells Redis of them when it is
 * back. The seed of a first attempt is still the same everywhere, so a retry at another gateway creates the same ids.
 */
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { backoffMs } from '../../lib/backoff.ts';
import { orAbort, sleep } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import { KEYS } from '../redis/keys.ts';
import type { Logger } from '../../lib/logger.ts';
import { isAway, unavailable, unlessAway, type RedisLink } from '../redis/link.ts';
import { Outbox } from '../redis/outbox.ts';
import { Script } from '../redis/script.ts';
import { fingerprintOf, type Fingerprint } from './fingerprint.ts';
import { MemoryIdempotencyStore } from './memory-store.ts';
import type { IdempotencyStore, IdempotentCall, IdempotentWork } from './store.ts';

export interface RedisStoreOptions {
  link: RedisLink;
  /** Keeps seeds from being guessed from keys. The same on all gateways. */
  secret: string;
  log: Logger;
  ttlMs?: number;
  /** If a gateway has not renewed its lease for this long, another one takes over its work. */
  leaseMs?: number;
  /** Answers larger than this are not kept. */
  maxAnswerBytes?: number;
}

const LEASE_MS = 10_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
/**
 * How many attempts around the stored count to search for what was created: Redis may have lost count, or not have been
 * asked.
 */
const OTHER_ATTEMPTS = 16;
const POLL = { firstMs: 10, maxMs: 250 };

/**
 * Fields: `print` and its `form`, `attempt`, `owner` and `until` (its lease), `answer`. Without owner and answer the
 * key is free.
 */
const BEGIN = new Script(`
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  local kept = redis.call('HMGET', KEYS[1], 'print', 'attempt', 'owner', 'until', 'answer', 'form')
  local taken = kept[3] or kept[5]
  if taken and kept[1] ~= ARGV[1] and kept[6] == ARGV[5] then return {'conflict'} end
  if kept[5] then return {'answer', kept[5]} end
  if kept[3] and tonumber(kept[4]) > now then return {'wait'} end
  local attempt = tonumber(kept[2] or '0')
  redis.call('HSET', KEYS[1], 'print', ARGV[1], 'form', ARGV[5], 'attempt', attempt)
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'until', now + ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'work', tostring(attempt)}`);

const RENEW = new Script(`
  if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
  local now = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'until', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2])
  return 1`);

const FINISH = new Script(`
  if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
  redis.call('HDEL', KEYS[1], 'owner', 'until')
  redis.call('HSET', KEYS[1], 'answer', ARGV[2])
  return 1`);

const FREE = new Script(`
  if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
  redis.call('HDEL', KEYS[1], 'owner', 'until', 'print', 'form')
  if ARGV[2] == 'spent' then redis.call('HINCRBY', KEYS[1], 'attempt', 1) end
  return 1`);

/** Stores what was answered without asking Redis, unless the key has an answer or somebody is working on it. */
const KEEP = new Script(`
  local owner, print, form, answer, ttlMs = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  local kept = redis.call('HMGET', KEYS[1], 'answer', 'owner', 'until')
  if kept[1] then return 0 end
  if kept[2] and kept[2] ~= owner and tonumber(kept[3]) > now then return 0 end
  redis.call('HDEL', KEYS[1], 'owner', 'until')
  redis.call('HSET', KEYS[1], 'print', print, 'form', form, 'answer', answer)
  redis.call('PEXPIRE', KEYS[1], ttlMs)
  return 1`);

interface Running {
  print: string;
  answer: Promise<unknown>;
}

export class RedisIdempotencyStore implements IdempotencyStore {
  readonly #options: Required<RedisStoreOptions>;
  /** Keys that this gateway is working on: its later calls share that work without asking Redis. */
  readonly #running = new Map<string, Running>();
  /** Used while Redis is unreachable. */
  readonly #alone = new MemoryIdempotencyStore();
  /** Reports to Redis what was answered without it. */
  readonly #outbox: Outbox;

  constructor(options: RedisStoreOptions) {
    this.#outbox = new Outbox(options.log);
    this.#options = { ttlMs: TOMBSTONE_KEPT_MS, leaseMs: LEASE_MS, maxAnswerBytes: MAX_ANSWER_BYTES, ...options };
  }

  async run<T>(call: IdempotentCall, work: IdempotentWork<T>, signal?: AbortSignal): Promise<T> {
    const digest = createHash('sha256')
      .update(JSON.stringify([call.scope, call.key]))
      .digest('base64url');
    const fingerprint = fingerprintOf(call);
    const { print } = fingerprint;
    const running = this.#running.get(digest);
    if (running !== undefined) {
      if (running.print !== print) throw new ServiceError('idempotency_conflict');
      return (await orAbort(signal, running.answer)) as T;
    }
    const answer = this.#runHere(call, digest, fingerprint, work, signal);
    this.#running.set(digest, { print, answer });
    try {
      return await answer;
    } finally {
      this.#running.delete(digest);
    }
  }

  stop(): void {
    this.#outbox.stop();
  }

  async #runHere<T>(
    call: IdempotentCall,
    digest: string,
    { print, form }: Fingerprint,
    work: IdempotentWork<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { link, leaseMs, ttlMs } = this.#options;
    const key = KEYS.idempotency(digest);
    const owner = randomUUID();
    for (let looks = 1; ; looks++) {
      let reply: string[];
      try {
        if (!link.up) throw unavailable();
        reply = (await BEGIN.run(link, [key], [print, owner, leaseMs, ttlMs, form])) as string[];
      } catch (error) {
        if (!isAway(error)) throw error;
        return await this.#alone.run(call, async () => {
          const answer = await work(this.#seed(call, digest, 0), true);
          const text = JSON.stringify(answer) ?? 'null';
          void this.#outbox.send(key, () => this.#keep(key, [owner, print, form, text, ttlMs]));
          return answer;
        });
      }
      const [what, more = ''] = reply;
      if (what === 'conflict') throw new ServiceError('idempotency_conflict');
      if (what === 'answer') return JSON.parse(more) as T;
      if (what === 'work') return await this.#work(key, owner, this.#seed(call, digest, Number(more)), call, work);
      await sleep(backoffMs(POLL, looks), signal);
    }
  }

  /** @throws ServiceError `node_unavailable` */
  async #keep(key: string, args: readonly (string | number)[]): Promise<void> {
    const { link } = this.#options;
    if (!link.up) throw unavailable();
    await KEEP.run(link, [key], args);
  }

  /** Does the work under a lease. Losing the lease does no harm: the other gateway arrives at the same result. */
  async #work<T>(
    key: string,
    owner: string,
    seed: string,
    { spent }: IdempotentCall,
    work: IdempotentWork<T>,
  ): Promise<T> {
    const { link, leaseMs, maxAnswerBytes, log } = this.#options;
    const renewal = setInterval(
      () => void unlessAway(RENEW.run(link, [key], [owner, leaseMs]), undefined, log),
      leaseMs / 3,
    );
    try {
      const answer = await work(seed, false);
      const text = JSON.stringify(answer) ?? 'null';
      if (Buffer.byteLength(text) > maxAnswerBytes) await this.#settle(FREE, key, owner, 'spent');
      else await this.#settle(FINISH, key, owner, text);
      return answer;
    } catch (error) {
      await this.#settle(FREE, key, owner, spent?.(seed) === false ? 'kept' : 'spent');
      throw error;
    } finally {
      clearInterval(renewal);
    }
  }

  /** If Redis cannot be reached the lease expires, and the next call with this key does the work again. */
  async #settle(script: Script, key: string, ...args: string[]): Promise<void> {
    const { link, log } = this.#options;
    await unlessAway(script.run(link, [key], args), undefined, log);
  }

  /**
   * The seed of this attempt, or of another one that has created something: a later one if Redis has lost count.
   * Earlier ones are spent, unless a gateway that could not ask Redis has created something with them since.
   */
  #seed({ made }: IdempotentCall, digest: string, attempt: number): string {
    const own = this.#seedOf(digest, attempt);
    if (made === undefined || made(own, false)) return own;
    for (let other = Math.max(0, attempt - OTHER_ATTEMPTS); other <= attempt + OTHER_ATTEMPTS; other++) {
      const seed = this.#seedOf(digest, other);
      if (made(seed, other < attempt)) return seed;
    }
    return own;
  }

  #seedOf(digest: string, attempt: number): string {
    return createHmac('sha256', this.#options.secret)
      .update(JSON.stringify(['idempotency', digest, attempt]))
      .digest('base64url');
  }
}
