/**
 * The gateway's connections to Redis: one for commands, which fail at once while Redis is away, and one that hears what
 * other gateways publish. Whoever uses them is told when Redis comes and goes, and never waits for it in silence.
 */
import type { Redis } from 'ioredis';
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { RedisClock } from './clock.ts';
import { KEYS } from './keys.ts';
import { codeOf, ENDED, reasonOf } from './errors.ts';

export interface RedisLinkOptions {
  /** `redis://` or `rediss://`; may hold a password, which is told to nobody. */
  url: string;
  log: Logger;
  /** A command without an answer has failed after this long; it may have been done all the same. */
  commandMs?: number;
}

export interface RedisListener {
  /** A message of another gateway, or of this one. */
  message(text: string): void;
  /** Messages may have been missed until now: what is known must be read anew. */
  joined(): void;
}

const COMMAND_MS = 2_000;
const PING_MS = 1_000;
const MAX_PAUSE_MS = 1_000;
const RETRY_AFTER_MS = 1_000;
const PROBE_KEPT_MS = 60_000;

export class RedisLink {
  /** For commands. Each has a deadline; none is sent a second time by itself. */
  readonly client: Redis;
  readonly clock = new RedisClock();
  readonly #subscriber: Redis;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #channels = new Map<string, RedisListener>();
  #pinger: NodeJS.Timeout | null = null;
  #up = false;
  #stopped = false;
  /** Why it is away, as far as it was told of since it was there last. */
  readonly #told = new Set<string>();
  /** The last error of the connection for commands, since it was ready. */
  #broken: unknown = null;
  #full = false;

  private constructor(client: Redis, subscriber: Redis, log: Logger) {
    this.client = client;
    this.#subscriber = subscriber;
    this.#log = log;
  }

  /** Resolves at once, whether Redis is there or not: it is looked for until `stop`. */
  static async open({ url, log, commandMs = COMMAND_MS }: RedisLinkOptions): Promise<RedisLink> {
    const { Redis } = await import('ioredis');
    const options = {
      lazyConnect: true,
      connectTimeout: commandMs,
      commandTimeout: commandMs,
      // A server that is stopped keeps its sockets open: they are given up when nothing comes back.
      socketTimeout: commandMs * 2,
      // Nothing is kept for later, nor sent again: whoever asked decides, and knows that it may have been done.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      autoResubscribe: false,
      // One that was the master when it was dialled may be a replica now: its name leads to another by then.
      reconnectOnError: (error: Error) => codeOf(error) === 'READONLY',
      retryStrategy: (times: number) =>
        Math.min(MAX_PAUSE_MS, 50 * 2 ** Math.min(times, 8)) * (0.5 + Math.random() / 2),
    };
    const link = new RedisLink(new Redis(url, options), new Redis(url, options), log);
    link.#start();
    return link;
  }

  /** Whether commands are answered now, and writes are taken. A server without memory left takes a few still, and is up. */
  get up(): boolean {
    return this.#up;
  }

  /** Whether messages of other gateways are heard. */
  get hears(): boolean {
    return this.#subscriber.status === 'ready';
  }

  /** Calls the listener each time Redis comes or goes, until the returned function is called. It never throws. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** One listener a channel, as long as the link lives. */
  listen(channel: string, listener: RedisListener): void {
    this.#channels.set(channel, listener);
    if (this.#subscriber.status === 'ready') this.#subscribe();
  }

  /**
   * The answer of Redis.
   * @throws ServiceError `node_unavailable` when there is none: whether it was done is unknown then.
   */
  async run<T>(work: (client: Redis) => Promise<T>): Promise<T> {
    try {
      return await work(this.client);
    } catch (thrown) {
      if (thrown instanceof ServiceError) throw thrown;
      throw unavailable(thrown);
    }
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
      // The connection itself goes on trying.
      connection.on('error', (error: Error) => {
        if (connection === this.client) this.#broken = error;
        this.#log.debug({ reason: reasonOf(error) }, 'redis connection');
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
   * Finds out what time it is there, that a connection is open and yet dead, and that a server answers and takes no
   * writes, also when nobody else uses it.
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
    if (this.#subscriber.status === 'ready') this.#subscriber.ping().catch(() => undefined);
  }

  /** @throws what says that nothing can be written, unless it is only that there is no memory left. */
  async #probe(): Promise<void> {
    try {
      await this.client.set(KEYS.probe, '', 'PX', PROBE_KEPT_MS);
      if (this.#full) this.#log.info({}, 'redis has memory again');
      this.#full = false;
    } catch (error) {
      // What makes room there is taken still: counted as away, it would stay full.
      if (codeOf(error) !== 'OOM') throw error;
      if (!this.#full) this.#log.warn({ reason: reasonOf(error) }, 'redis takes nothing new: creates cannot wait');
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
      // Unless it is refused, the connection is about to close; the next one subscribes.
      (error: unknown) => {
        if (codeOf(error) === 'NOPERM')
          this.#log.warn({ reason: reasonOf(error) }, 'redis: nothing is heard of others');
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
      this.#told.clear();
      if (changed) this.#log.info({}, 'redis is there');
    } else if (!this.#stopped) this.#away(changed, why);
    if (changed) for (const listener of [...this.#listeners]) listener();
  }

  /** Says so once, and each further reason once: also where it was never there. */
  #away(changed: boolean, why: unknown): void {
    const reason = reasonOf(why);
    if (!changed && (this.#told.has(reason) || reason === ENDED)) return;
    this.#told.add(reason);
    this.#log.warn({ reason }, 'redis is away');
  }
}

/** What callers are told when Redis does not answer. The cause stays behind: it may quote what was sent. */
export function unavailable(thrown?: unknown): ServiceError {
  const reason = thrown instanceof Error ? thrown.name : undefined;
  return new ServiceError('node_unavailable', 'The store that gateways share cannot be reached now.', {
    retryAfterMs: RETRY_AFTER_MS,
    ...(reason === undefined ? {} : { cause: new Error(reason) }),
  });
}
