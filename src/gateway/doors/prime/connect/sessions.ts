/** The sessions of this gateway, by the names that clients use: the session's UUID or the process id. */
import { ServiceError } from '../../../../protocol/errors.ts';
import type { Session } from './session.ts';

/** Longer than clients try to reconnect to a lost session. */
const KEPT_MS = 300_000;
/** Clients repeat a call for less time than this: forgetting a session earlier could run its command twice. */
const REPEATED_MS = 120_000;

interface Limits {
  live: number;
  /** Live sessions, and ended ones that a client may still ask for. */
  kept: number;
}
const LIMITS: Limits = { live: 20_000, kept: 40_000 };

interface Kept {
  session: Session;
  tenant: string;
  /** The UUID by which a client finds it again; null: it cannot. */
  uuid: string | null;
  /** Fingerprint of the request: the same UUID with another request is a conflict. */
  request: string;
  command: { cmd: string; args: readonly string[] };
  pid: number | null;
  killTimer: NodeJS.Timeout | undefined;
  forgotten: NodeJS.Timeout | undefined;
  endedAt: number;
}

export class Sessions {
  readonly #limits: Limits;
  readonly #kept = new Map<string, Kept>();
  /** Ended sessions, oldest first, by tenant. */
  readonly #ended = new Map<string, Set<Kept>>();
  #live = 0;
  #closed = false;

  constructor(limits: Limits = LIMITS) {
    this.#limits = limits;
  }

  /**
   * @param start called only if there is room, so that nothing runs that was refused
   * @throws ServiceError `rate_limited` when there are too many, or what `start` throws
   */
  add(start: () => Session, about: Pick<Kept, 'tenant' | 'uuid' | 'request' | 'command'>): Kept {
    if (this.#live >= this.#limits.live) throw tooMany();
    if (this.#kept.size >= this.#limits.kept) this.#makeRoom(about.tenant);
    const session = start();
    const kept: Kept = { session, ...about, pid: null, killTimer: undefined, forgotten: undefined, endedAt: 0 };
    this.#kept.set(keyOf(session.sandbox, session.id), kept);
    this.#live += 1;
    session.started.then(
      (pid) => (kept.pid = pid),
      () => undefined,
    );
    void session.over.then(() => this.#over(kept));
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
  attached(kept: Kept): void {
    clearTimeout(kept.killTimer);
  }

  /**
   * A client's stream of it has ended. Unless another follows, the command is killed: at once if nobody can find it
   * again.
   */
  detached(kept: Kept): void {
    if (!kept.session.running || kept.session.listening) return;
    if (kept.uuid === null) return kept.session.kill();
    clearTimeout(kept.killTimer);
    kept.killTimer = setTimeout(() => kept.session.kill(), KEPT_MS);
    kept.killTimer.unref();
  }

  close(): void {
    this.#closed = true;
    for (const kept of this.#kept.values()) {
      clearTimeout(kept.killTimer);
      clearTimeout(kept.forgotten);
    }
    this.#kept.clear();
    this.#ended.clear();
  }

  #over(kept: Kept): void {
    this.#live -= 1;
    clearTimeout(kept.killTimer);
    if (kept.uuid === null || this.#closed) return this.#forget(kept);
    kept.endedAt = performance.now();
    const ended = this.#ended.get(kept.tenant) ?? new Set<Kept>();
    this.#ended.set(kept.tenant, ended.add(kept));
    kept.forgotten = setTimeout(() => this.#forget(kept), KEPT_MS).unref();
  }

  #forget(kept: Kept): void {
    clearTimeout(kept.forgotten);
    const key = keyOf(kept.session.sandbox, kept.session.id);
    if (this.#kept.get(key) === kept) this.#kept.delete(key);
    const ended = this.#ended.get(kept.tenant);
    ended?.delete(kept);
    if (ended?.size === 0) this.#ended.delete(kept.tenant);
  }

  /** Forgets the oldest session of the tenant with the most. That tenant itself may have to wait instead. */
  #makeRoom(tenant: string): void {
    const [most] = [...this.#ended.values()].sort((a, b) => b.size - a.size);
    const [oldest] = most ?? [];
    if (oldest === undefined) throw tooMany();
    if (oldest.tenant === tenant && performance.now() - oldest.endedAt < REPEATED_MS) throw tooMany();
    this.#forget(oldest);
  }
}

export type { Kept };

const tooMany = (): ServiceError => new ServiceError('rate_limited', 'this gateway has too many live sessions');
const keyOf = (sandbox: string, id: string): string => `${sandbox}/${id}`;
