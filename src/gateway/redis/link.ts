/**
 * The gateway's connections to Redis: one for commands, which fail at once while Redis is away, and one that subscribes
 * to other gateways' messages. Users are notified when Redis comes and goes, and never wait for it without a deadline.
 */
import type { Redis } from 'ioredis';
import { background } from '../../lib/background.ts';
import { jitteredBackoffMs } from '../../lib/backoff.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { RedisClock } from './clock.ts';
import { KEYS } from './keys.ts';
import { codeOf, ENDED, isOurFault, isRefusal, isWrongDatabase, reasonOf, refusalOf } from './errors.ts';

export interface RedisLinkOptions {
  /** `redis://` or `rediss://`; may contain a password, which is never logged. */
  url: string;
  log: Logger;
  /** A command without an answer fails after this long; it may have been executed anyway. */
  commandMs?: number;
}

export interface RedisListener {
  /** A message of another gateway, or of this one. */
  message(text: string): void;
  /** Subscribed (again). Messages may have been missed until now, so everything must be read again. */
  joined(): void;
}

const COMMAND_MS = 2_000;
const PING_MS = 1_000;
const BACKOFF = { firstMs: 100, maxMs: 1_000 };
const RETRY_AFTER_MS = 1_000;
const PROBE_KEPT_MS = 60_000;

export class RedisLink {
  /** For commands. Each has a deadline; none is resent automatically. */
  readonly client: Redis;
  readonly clock = new RedisClock();
  readonly #subscriber: Redis;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #channels = new Map<string, RedisListener>();
  #pinger: NodeJS.Timeout | null = null;
  #up = false;
  #stopped = false;
  /** Reasons for being away that were logged since it was last up. */
  readonly #loggedReasons = new Set<string>();
  /** Refusals logged since it last came up. */
  readonly #loggedRefusals = new Set<string>();
  /** When its absence was logged, by `performance.now()`; null: not since it was last up. */
  #awaySince: number | null = null;
  /** The last error of the command connection since it was ready that says more than that it has ended. */
  #broken: unknown = null;
  #full = false;

  private constructor(client: Redis, subscriber: Redis, log: Logger) {
    this.client = client;
    this.#subscriber = subscriber;
    this.#log = log;
  }

  /** Resolves at once, whether or not Redis can be reached; keeps trying to connect until `stop`. */
  static async open({ url, log, commandMs = COMMAND_MS }: RedisLinkOptions): Promise<RedisLink> {
    const { Redis } = await import('ioredis');
    const options = {
      lazyConnect: true,
      connectTimeout: commandMs,
      commandTimeout: commandMs,
      // A suspended server keeps its sockets open: give them up when nothing comes back.
      socketTimeout: commandMs * 2,
      // Commands are neither queued nor resent: the caller decides, since a command may have been executed.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      autoResubscribe: false,
      // The former master may now be a replica: reconnect, so that its name is resolved again.
      reconnectOnError: (error: Error) => codeOf(error) === 'READONLY',
      retryStrategy: (times: number) => jitteredBackoffMs(BACKOFF, times),
    };
    const link = new RedisLink(new Redis(url, options), new Redis(url, options), log);
    link.#start();
    return link;
  }

  /**
   * Whether commands are answered and writes accepted. A server without free memory still takes some, and counts as up.
   */
  get up(): boolean {
    return this.#up;
  }

  /** Whether messages of other gateways are received. */
  get subscribed(): boolean {
    return this.#subscriber.status === 'ready';
  }

  /**
   * Calls the listener when Redis comes or goes, until the returned function is called. The listener must not throw.
   */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** One listener per channel, for the life of the link. */
  listen(channel: string, listener: RedisListener): void {
    this.#channels.set(channel, listener);
    if (this.#subscriber.status === 'ready') this.#subscribe();
  }

  /**
   * The answer of Redis.
   * @throws ServiceError `node_unavailable` without an answer: it is then unknown whether the command was executed. A
   * refusal by Redis is logged once per reason: callers do without Redis as if it were away. A fault of `work` is
   * thrown as it is.
   */
  async run<T>(work: (client: Redis) => Promise<T>): Promise<T> {
    try {
      return await work(this.client);
    } catch (thrown) {
      if (thrown instanceof ServiceError || isOurFault(thrown)) throw thrown;
      this.#refused(refusalOf(thrown));
      throw unavailable(thrown);
    }
  }

  #refused(reason: string | null): void {
    if (reason === null || this.#loggedRefusals.has(reason)) return;
    this.#loggedRefusals.add(reason);
    this.#log.warn({ reason }, 'redis refuses commands that gateways need: they continue without it');
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#pinger !== null) clearInterval(this.#pinger);
    this.#listeners.clear();
    this.#channels.clear();
    this.#set(false, null);
    for (const connection of [this.client, this.#subscriber]) connection.disconnect();
    await Promise.resolve();
  }

  #start(): void {
    for (const connection of [this.client, this.#subscriber]) {
      // Only logged: the connection reconnects by itself.
      connection.on('error', (error: Error) => {
        const isNews = this.#broken === null || reasonOf(error) !== ENDED;
        if (connection === this.client && isNews) this.#broken = error;
        this.#log.debug({ reason: reasonOf(error) }, 'redis connection');
        if (isWrongDatabase(error)) connection.disconnect(true);
      });
      connection.connect().catch(() => undefined);
    }
    this.client.on('ready', () => this.#ping());
    this.client.on('close', () => this.#set(false, this.#broken));
    this.#subscriber.on('ready', () => this.#subscribe());
    this.#subscriber.on('message', (channel: string, text: string) => this.#channels.get(channel)?.message(text));
    this.#pinger = setInterval(() => this.#ping(), PING_MS);
    this.#pinger.unref();
  }

  /**
   * Measures the clock, and detects dead connections and servers that refuse writes, even when nobody uses the link.
   */
  #ping(): void {
    if (this.client.status === 'ready') {
      this.clock
        .look(() => this.client.time())
        .then(() => this.#probe())
        .then(
          () => this.#set(this.client.status === 'ready', null),
          (error: unknown) => this.#set(false, error),
        );
    }
    // If no answer comes, its `socketTimeout` ends the connection, and the next one subscribes again.
    if (this.#subscriber.status === 'ready') this.#subscriber.ping().catch(() => undefined);
  }

  /** @throws the error of a refused write, unless Redis is only out of memory */
  async #probe(): Promise<void> {
    try {
      await this.client.set(KEYS.probe, '', 'PX', PROBE_KEPT_MS);
      if (this.#full) this.#log.info({}, 'redis has memory again');
      this.#full = false;
    } catch (error) {
      // Redis still takes commands that free memory. If it counted as away, none would be sent and it would stay full.
      if (codeOf(error) !== 'OOM') throw error;
      if (!this.#full)
        this.#log.warn({ reason: reasonOf(error) }, 'redis is out of memory: creates cannot be enqueued');
      this.#full = true;
    }
  }

  #subscribe(): void {
    const channels = [...this.#channels.keys()];
    if (channels.length === 0) return;
    const subscribed = this.#subscriber.subscribe(...channels).then(
      () => {
        for (const listener of this.#channels.values()) listener.joined();
      },
      // Unless Redis refused, the connection is about to close, and the next one subscribes again.
      (error: unknown) => {
        if (codeOf(error) === 'NOPERM')
          this.#log.warn({ reason: reasonOf(error) }, 'redis: no messages of other gateways are received');
      },
    );
    background(subscribed, 'subscribe to redis', this.#log);
  }

  #set(up: boolean, why: unknown): void {
    if (up && this.#stopped) return;
    const changed = up !== this.#up;
    this.#up = up;
    if (up) {
      this.#broken = null;
      this.#loggedReasons.clear();
      if (changed) this.#there();
    } else if (!this.#stopped) this.#away(changed, why);
    if (changed) for (const listener of [...this.#listeners]) listener();
  }

  #there(): void {
    if (this.#awaySince === null) this.#log.info({}, 'redis is reachable');
    else this.#log.warn({ awayMs: Math.round(performance.now() - this.#awaySince) }, 'redis is back');
    this.#awaySince = null;
    this.#loggedRefusals.clear();
  }

  /**
   * Warns once that Redis is away, even if it was never up. Each further reason is logged once, and is a warning too if
   * it needs an operator.
   */
  #away(changed: boolean, why: unknown): void {
    const reason = reasonOf(why);
    if (!changed && (this.#loggedReasons.has(reason) || reason === ENDED)) return;
    this.#loggedReasons.add(reason);
    if (this.#awaySince === null) {
      this.#awaySince = performance.now();
      this.#log.warn({ reason }, 'redis is away');
    } else if (isRefusal(why)) this.#log.warn({ reason }, 'redis is still away');
    else this.#log.info({ reason }, 'redis is still away');
  }
}

/**
 * The error for callers within the gateway when Redis does not answer; clients are told what that means for their call.
 * The cause is left out: it may quote what was sent.
 */
export function unavailable(thrown?: unknown): ServiceError {
  const reason = thrown instanceof Error ? thrown.name : undefined;
  return new ServiceError('node_unavailable', 'the store that gateways share cannot be reached right now', {
    retryAfterMs: RETRY_AFTER_MS,
    ...(reason === undefined ? {} : { cause: new Error(reason) }),
  });
}

/** Whether Redis did not answer, as opposed to refusing. */
export const isAway = (thrown: unknown): boolean =>
  thrown instanceof ServiceError && thrown.code === 'node_unavailable';

/** The answer of Redis, or the fallback. Never rejects: anything beyond an outage is logged. */
export async function unlessAway<T, F>(asked: Promise<T>, fallback: F, log: Logger): Promise<T | F> {
  try {
    return await asked;
  } catch (error) {
    if (!isAway(error)) log.error({ err: error }, 'a redis call failed, and not because of an outage');
    return fallback;
  }
}
