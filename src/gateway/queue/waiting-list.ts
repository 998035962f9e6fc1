/**
 * The list of waiting sandboxes that all gateways share: a local copy of what Redis holds, read once and then kept up
 * to date by messages. Messages are numbered; a gateway that misses one reads everything again. The list holds no
 * secrets. A sandbox that ended while it waited is remembered for an hour, so that no gateway starts it after all.
 */
import * as z from 'zod';
import { parseJson } from '../../lib/parse-json.ts';
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import { SandboxRecord } from '../../protocol/node.ts';
import { GATEWAYS } from '../leader/redis-leader.ts';
import { KEYS } from '../redis/keys.ts';
import type { RedisLink } from '../redis/link.ts';
import { shareOf, type QueueRefusal } from './fair-share.ts';
import { ANNOUNCE, END, FORGET, GONE, READ, WITHDRAW } from './scripts.ts';

export const WaitingItem = z.object({
  record: SandboxRecord,
  priority: z.number(),
  weight: z.number(),
  /** The gateway that announced it last. */
  by: z.string().optional(),
});
export type WaitingItem = z.infer<typeof WaitingItem>;

const Message = z.discriminatedUnion('type', [
  z.object({ type: z.literal('waits'), sequence: z.number(), item: WaitingItem }),
  z.object({ type: z.literal('ended'), sequence: z.number(), record: SandboxRecord }),
  z.object({ type: z.literal('withdrawn'), sequence: z.number(), record: SandboxRecord }),
  z.object({ type: z.literal('gone'), sequence: z.number(), id: z.string() }),
]);
type Message = z.infer<typeof Message>;

/** Redis's answer to a full read. */
type Snapshot = [era: string, sequence: string, waiting: string[], ended: string[]];

export interface WaitingListEvents {
  waits(item: WaitingItem): void;
  ended(record: SandboxRecord): void;
  /** The create was refused: the sandbox never existed, unless another gateway has created it meanwhile. */
  withdrawn(record: SandboxRecord): void;
  /** It no longer waits: a node has it. */
  gone(id: string): void;
  /**
   * Everything that waits and everything that ended, after messages may have been missed. `lost`: Redis has lost its
   * data, so that absence from the list means nothing.
   */
  all(waiting: readonly WaitingItem[], ended: readonly SandboxRecord[], lost: boolean): void;
}

/** Records of ended sandboxes; above this the oldest are dropped before their hour. */
export const MAX_ENDED = 50_000;
const REREAD_PAUSE_MS = 500;
/** Pause after a fault of ours, which the next read will most likely hit again. */
const FAULT_PAUSE_MS = 10_000;
/** Messages kept during a full read. If there are more, a gap shows, and everything is read again. */
const MAX_MEANWHILE = 10_000;

export class WaitingList {
  readonly #link: RedisLink;
  readonly #log: Logger;
  readonly #feed: string;
  #events: WaitingListEvents | null = null;
  /** Number of the last message included in the copy; null: there is no copy. */
  #sequence: number | null = null;
  /** Era of the data read last (see KEYS.era); null: nothing has been read yet. */
  #era: string | null = null;
  /** Messages that arrived during a full read, whose answer may or may not include them. */
  #meanwhile: Message[] = [];
  #copied = Promise.withResolvers<void>();
  #reading = false;
  #readAgain = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(link: RedisLink, log: Logger) {
    this.#link = link;
    this.#log = log;
    this.#feed = KEYS.feed(link.client.options.db ?? 0);
  }

  /** Whether the copy matches what Redis holds, as far as can be known here. */
  get current(): boolean {
    return this.#sequence !== null && this.#link.up && this.#link.subscribed;
  }

  /** Resolves after the next full read. */
  copied(): Promise<void> {
    return this.#copied.promise;
  }

  start(events: WaitingListEvents): void {
    this.#events = events;
    this.#link.listen(this.#feed, {
      message: (text) => this.#receive(text),
      joined: () => this.#read(),
    });
  }

  stop(): void {
    this.#events = null;
    clearTimeout(this.#timer);
  }

  /**
   * Checks whether Redis still has the data that was read. One that was emptied may have kept its connections, and
   * numbers its messages from the start again, so that they look like old ones. Call this periodically.
   */
  look(): void {
    const era = this.#era;
    if (!this.current) return;
    const looked = this.#link
      .run((client) => client.get(KEYS.era))
      .then(
        (now) => (now !== era && this.#era === era ? this.#read() : undefined),
        () => undefined,
      );
    background(looked, 'look at the shared queue', this.#log);
  }

  /** @throws ServiceError `node_unavailable`: it may have been written anyway. */
  async announce(item: WaitingItem, max: number): Promise<'waits' | 'ended' | QueueRefusal> {
    const { id, tenant } = item.record;
    const keys = [KEYS.waiting, KEYS.ended, KEYS.sequence, KEYS.places];
    const text = JSON.stringify(item);
    return (await ANNOUNCE.run(this.#link, keys, [id, text, max, this.#feed, tenant, shareOf(max)])) as never;
  }

  /** Marks it as ended, which wins over any concurrent change. @throws ServiceError `node_unavailable` */
  async end(record: SandboxRecord): Promise<void> {
    await this.#end(record, '', '');
  }

  /**
   * As `end`, but only if it still waits and, if `by` is given, was last announced by that gateway; returns whether it
   * did.
   * @throws ServiceError `node_unavailable`
   */
  async endIfWaiting(record: SandboxRecord, by = ''): Promise<boolean> {
    return (await this.#end(record, 'waits', by)) === 1;
  }

  async #end(record: SandboxRecord, condition: '' | 'waits', by: string): Promise<unknown> {
    const keys = [KEYS.waiting, KEYS.ended, KEYS.sequence, KEYS.endedAt, KEYS.places];
    const text = JSON.stringify(record);
    return await END.run(this.#link, keys, [
      record.id,
      text,
      record.endedAtMs ?? this.#link.clock.now(),
      this.#feed,
      MAX_ENDED,
      condition,
      by,
    ]);
  }

  /**
   * Removes a sandbox whose create was refused, unless another gateway has announced it since. The id stays usable: a
   * retry with the same key gets it again.
   * @param ended its final record
   * @param by the gateway that announced it
   * @returns whether it waited
   * @throws ServiceError `node_unavailable`
   */
  async withdraw(ended: SandboxRecord, by: string): Promise<boolean> {
    const keys = [KEYS.waiting, KEYS.sequence, KEYS.places];
    return (await WITHDRAW.run(this.#link, keys, [ended.id, by, JSON.stringify(ended), this.#feed])) === 1;
  }

  /** Whether it waits, according to Redis. @throws ServiceError `node_unavailable` */
  async holds(id: string): Promise<boolean> {
    return (await this.#link.run((client) => client.hexists(KEYS.waiting, id))) === 1;
  }

  /** Its final record, if it ended within the last hour, according to Redis. @throws ServiceError `node_unavailable` */
  async endOf(id: string): Promise<SandboxRecord | undefined> {
    const text = await this.#link.run((client) => client.hget(KEYS.ended, id));
    return text === null ? undefined : parseJson(SandboxRecord, text);
  }

  /** A node has it. @throws ServiceError `node_unavailable` */
  async gone(id: string): Promise<void> {
    await GONE.run(this.#link, [KEYS.waiting, KEYS.sequence, KEYS.places], [id, this.#feed]);
  }

  /** Drops ended records after their hour; for the leader of this term. @throws ServiceError `node_unavailable` */
  async forgetOld(now: number, term: number): Promise<void> {
    const keys = [KEYS.ended, KEYS.endedAt, KEYS.term(GATEWAYS)];
    await FORGET.run(this.#link, keys, [term, now - TOMBSTONE_KEPT_MS]);
  }

  #receive(text: string): void {
    const message = parseJson(Message, text);
    if (message === undefined) return this.#log.warn({}, 'a message of the shared queue cannot be read');
    this.#take(message);
  }

  #take(message: Message): void {
    if (this.#sequence === null) {
      if (this.#reading && this.#meanwhile.length < MAX_MEANWHILE) this.#meanwhile.push(message);
      return;
    }
    if (message.sequence <= this.#sequence) return;
    if (message.sequence !== this.#sequence + 1) return this.#read();
    this.#sequence = message.sequence;
    switch (message.type) {
      case 'waits':
        return this.#events?.waits(message.item);
      case 'ended':
        return this.#events?.ended(message.record);
      case 'withdrawn':
        return this.#events?.withdrawn(message.record);
      case 'gone':
        return this.#events?.gone(message.id);
    }
  }

  /** Reads everything; once more if a message calls for it meanwhile. */
  #read(): void {
    this.#sequence = null;
    this.#readAgain = true;
    // The coming read includes them, and after a loss of data they may carry higher numbers.
    this.#meanwhile = [];
    if (this.#reading) return;
    this.#reading = true;
    const reading = this.#readAll().finally(() => (this.#reading = false));
    background(reading, 'read the shared queue', this.#log);
  }

  async #readAll(): Promise<void> {
    while (this.#readAgain && this.#events !== null) {
      this.#readAgain = false;
      let answer: unknown;
      try {
        const keys = [KEYS.waiting, KEYS.ended, KEYS.sequence, KEYS.era];
        answer = await READ.run(this.#link, keys, [crypto.randomUUID()]);
      } catch {
        // Redis is away again: joining reads again. If only the answer was late, this timer does.
        return this.#readLater(REREAD_PAUSE_MS);
      }
      if (this.#readAgain) continue;
      try {
        this.#apply(answer as Snapshot);
      } catch (error) {
        // A partial copy is none.
        this.#sequence = null;
        this.#readLater(FAULT_PAUSE_MS);
        throw error;
      }
    }
  }

  #readLater(pauseMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), pauseMs).unref();
  }

  #apply([era, sequence, waiting, ended]: Snapshot): void {
    this.#sequence = Number(sequence);
    const lost = era !== '' && this.#era !== null && era !== this.#era;
    if (lost) this.#log.warn({}, 'redis lost its data: the tickets accepted here are written again');
    if (era !== '') this.#era = era;
    this.#events?.all(
      waiting.flatMap((text) => parseJson(WaitingItem, text) ?? []),
      ended.flatMap((text) => parseJson(SandboxRecord, text) ?? []),
      lost,
    );
    for (const message of this.#meanwhile.splice(0)) this.#take(message);
    this.#copied.resolve();
    this.#copied = Promise.withResolvers();
  }
}
