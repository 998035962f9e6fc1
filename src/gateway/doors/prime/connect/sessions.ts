/** The sessions of this gateway, by the names that clients use: the session's UUID or the process id. */
import { ServiceError } from '../../../../protocol/errors.ts';
import type { Session } from './session.ts';

/** Longer than clients try to reconnect to a lost session. */
const KEPT_MS = 300_000;
const MAX_SESSIONS = 20_000;

interface Kept {
  session: Session;
  /** Under which a client finds it again; null: it cannot. */
  uuid: string | null;
  /** Fingerprint of the request: the same UUID with another request is a conflict. */
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

  /** A client has opened a stream of it. */
  heard(kept: Kept): void {
    clearTimeout(kept.unheard);
  }

  /**
   * A client's stream of it has ended. Without another one, the command is killed: at once if nobody can find it again.
   */
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
