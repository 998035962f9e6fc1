/** The sessions of this gateway, by the names that clients call them: their own id, or the process's. */
import { ServiceError } from '../../../../protocol/errors.ts';
import type { Session } from './session.ts';

/** Longer than clients try to get back to a session they have lost. */
const KEPT_MS = 300_000;
const MAX_SESSIONS = 20_000;

interface Kept {
  session: Session;
  /** By which a client finds it again; null: it cannot. */
  uuid: string | null;
  /** What was asked for: the same id with another request is a mistake. */
  request: string;
  command: { cmd: string; args: readonly string[] };
  pid: number | null;
  unheard: NodeJS.Timeout | undefined;
}

export class Sessions {
  readonly #kept = new Map<string, Kept>();
  #closed = false;

  /** @throws ServiceError `rate_limited` when there are too many. */
  add(session: Session, about: Pick<Kept, 'uuid' | 'request' | 'command'>): Kept {
    if (this.#kept.size >= MAX_SESSIONS)
      throw new ServiceError('rate_limited', 'This gateway has too many live sessions.');
    const kept: Kept = { session, ...about, pid: null, unheard: undefined };
    const key = keyOf(session.sandbox, session.id);
    this.#kept.set(key, kept);
    session.started.then(
      (pid) => (kept.pid = pid),
      () => undefined,
    );
    void session.over.then(() => {
      const forget = (): void => void this.#kept.delete(key);
      clearTimeout(kept.unheard);
      if (about.uuid === null || this.#closed) forget();
      else setTimeout(forget, KEPT_MS).unref();
    });
    return kept;
  }

  byUuid(sandbox: string, uuid: string): Kept | undefined {
    return this.#kept.get(keyOf(sandbox, uuid));
  }

  byPid(sandbox: string, pid: number): Kept | undefined {
    return [...this.of(sandbox)].find((kept) => kept.pid === pid && kept.session.running);
  }

  *of(sandbox: string): Generator<Kept> {
    for (const kept of this.#kept.values()) if (kept.session.sandbox === sandbox) yield kept;
  }

  /** A client's stream of it has begun. */
  heard(kept: Kept): void {
    clearTimeout(kept.unheard);
  }

  /** A client's stream of it has ended: another may come. */
  unheard(kept: Kept): void {
    if (!kept.session.running || kept.session.listening) return;
    if (kept.uuid === null) return kept.session.kill();
    clearTimeout(kept.unheard);
    kept.unheard = setTimeout(() => kept.session.kill(), KEPT_MS);
    kept.unheard.unref();
  }

  close(): void {
    this.#closed = true;
    for (const kept of this.#kept.values()) clearTimeout(kept.unheard);
    this.#kept.clear();
  }
}

export type { Kept };

const keyOf = (sandbox: string, id: string): string => `${sandbox}/${id}`;
