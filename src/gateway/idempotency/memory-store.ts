import { randomUUID } from 'node:crypto';
import { orAbort } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { IdempotencyStore, IdempotentCall, IdempotentWork } from './store.ts';

export interface MemoryStoreOptions {
  maxKeys?: number;
  /** Limit for all kept answers together, as JSON. The oldest are dropped first. */
  maxBytes?: number;
  ttlMs?: number;
  now?: () => number;
}

interface Kept {
  fingerprint: string;
  answer: Promise<unknown>;
  bytes: number;
  settled: boolean;
  expiresAt: number;
}

export class MemoryIdempotencyStore implements IdempotencyStore {
  /** In order of arrival, which is also the order of expiry. */
  readonly #kept = new Map<string, Kept>();
  readonly #options: Required<MemoryStoreOptions>;
  #bytes = 0;

  constructor(options: MemoryStoreOptions = {}) {
    this.#options = {
      maxKeys: 100_000,
      maxBytes: 64 * 1024 * 1024,
      ttlMs: TOMBSTONE_KEPT_MS,
      now: () => performance.now(),
      ...options,
    };
  }

  async run<T>(call: IdempotentCall, work: IdempotentWork<T>, signal?: AbortSignal): Promise<T> {
    this.#expire();
    const id = `${call.scope}\0${call.key}`;
    const { print: fingerprint } = fingerprintOf(call);
    const known = this.#kept.get(id);
    if (known !== undefined) {
      if (known.fingerprint !== fingerprint) throw new ServiceError('idempotency_conflict');
      return (await orAbort(signal, known.answer)) as T;
    }
    const kept: Kept = {
      fingerprint,
      answer: work(randomUUID(), false),
      bytes: id.length + 200,
      settled: false,
      expiresAt: this.#options.now() + this.#options.ttlMs,
    };
    this.#kept.set(id, kept);
    this.#bytes += kept.bytes;
    try {
      const answer = (await kept.answer) as T;
      kept.settled = true;
      this.#grow(kept, JSON.stringify(answer)?.length ?? 0);
      this.#trim();
      return answer;
    } catch (error) {
      this.#remove(id, kept);
      throw error;
    }
  }

  #grow(kept: Kept, bytes: number): void {
    kept.bytes += bytes;
    this.#bytes += bytes;
  }

  #expire(): void {
    const now = this.#options.now();
    for (const [id, kept] of this.#kept) {
      if (kept.expiresAt > now) break;
      if (kept.settled) this.#remove(id, kept);
    }
    if (this.#kept.size < this.#options.maxKeys) return;
    this.#trim();
    if (this.#kept.size >= this.#options.maxKeys) {
      throw new ServiceError('rate_limited', 'too many idempotency keys are in use', { retryAfterMs: 1_000 });
    }
  }

  /** Keys whose work is still running are kept. */
  #trim(): void {
    for (const [id, kept] of this.#kept) {
      if (this.#bytes <= this.#options.maxBytes && this.#kept.size < this.#options.maxKeys) return;
      if (kept.settled) this.#remove(id, kept);
    }
  }

  #remove(id: string, kept: Kept): void {
    if (this.#kept.get(id) !== kept) return;
    this.#kept.delete(id);
    this.#bytes -= kept.bytes;
  }
}
