/**
 * What sandboxes send to gateways without credit: answers, and events. A link sends messages ahead of all bytes: too many
 * of them would delay every other call of the node, and use up what may wait for the link. So while it is crowded, large
 * answers wait here, and of events that can be left out each tenant's streams send only some.
 */
import { HeldBytes } from '../../src/lib/held-bytes.ts';
import type { Json, MuxStream } from '../../src/mux/index.ts';

const LARGE_BYTES = 16 * 1024;
/** Of one tenant. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Of one tenant, at once and per millisecond: the changes of a quiet directory are not lost because of others. */
const MAX_EVENT_BYTES = 1024 * 1024;
const EVENT_BYTES_PER_MS = 1024;
const MAX_TENANTS = 10_000;

export class LinkRoom {
  readonly #answers = new HeldBytes(MAX_ANSWER_BYTES, 'answers wait for the node');
  /** By tenant, what was left at that time. */
  readonly #events = new Map<string, { left: number; atMs: number }>();

  /**
   * Accepts the stream with this answer: at once, or once the link has room for it.
   * @returns undefined if at once. The promise never rejects.
   * @throws ServiceError `rate_limited`
   */
  accept(stream: MuxStream, tenant: string, answer: Json): Promise<void> | undefined {
    if (stream.crowded === true) {
      const bytes = Buffer.byteLength(JSON.stringify(answer));
      if (bytes > LARGE_BYTES) {
        const release = this.#answers.hold(tenant, bytes);
        return whenRoom(stream, () => {
          release();
          stream.accept(answer);
        });
      }
    }
    stream.accept(answer);
    return undefined;
  }

  /** Whether a crowded link takes this event of a tenant's stream. */
  takes(tenant: string, event: Json): boolean {
    const atMs = performance.now();
    const before = this.#events.get(tenant) ?? { left: MAX_EVENT_BYTES, atMs };
    const left = Math.min(MAX_EVENT_BYTES, before.left + (atMs - before.atMs) * EVENT_BYTES_PER_MS);
    const bytes = Buffer.byteLength(JSON.stringify(event));
    // As if they had waited long enough.
    if (this.#events.size >= MAX_TENANTS) this.#events.clear();
    this.#events.set(tenant, { left: Math.max(0, left - bytes), atMs });
    return bytes <= left;
  }
}

/** Calls `send` once the stream's link has room, or the stream is closed. */
export async function whenRoom(stream: MuxStream, send: () => void): Promise<void> {
  while (stream.crowded === true && !stream.closed) await stream.room?.();
  // Without a pause, so that others who have waited too see that it has taken their room.
  send();
}
