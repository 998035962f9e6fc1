/** One node as the gateway sees it: its link, its last report, and what was sent to it since. */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { orAbort } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeHello, NodeReport } from '../../protocol/node.ts';
import { imageKey } from '../images/names.ts';
import { Health } from './health.ts';
import type { Dial, Dialled, NodeLink } from './link.ts';
import { ask, type Opener } from './unary.ts';

/**
 * connecting: never seen. ready: takes sandboxes. cordoned: the operator keeps new ones away. draining: it takes none.
 * away: the link is down, within the grace. lost: beyond it.
 */
export type NodeState = 'connecting' | 'ready' | 'cordoned' | 'draining' | 'away' | 'lost';

const ANY_IMAGE = '*';
const CALL_DEADLINE_MS = 15_000;
const FULL_MS = 1_000;

/** What discovery says of a node. leaving: it is not named any more, and goes with its last sandbox. */
export type Standing = 'in' | 'cordoned' | 'leaving';

export class Node implements Opener {
  /** Where it is dialled; it may move. */
  url: string;
  readonly health = new Health();
  readonly #givenName: string | null;
  link: NodeLink | null = null;
  report: NodeReport | null = null;
  hello: NodeHello | null = null;
  /** Beside what the operator has told the node itself: neither undoes what the other has said. */
  standing: Standing = 'in';
  state: 'connecting' | 'up' | 'away' | 'lost' = 'connecting';
  /** Sandboxes that are alive here, as far as the gateway knows. */
  live = 0;
  liveCpus = 0;
  #fullUntil = 0;
  #claimed = new Map<string, number>();
  #images = new Set<string>();
  #waiters = new Set<() => void>();
  #dialling: AbortController | null = null;

  constructor(url: string, givenName: string | null) {
    this.url = url;
    this.#givenName = givenName;
  }

  get name(): string {
    return this.#givenName ?? this.hello?.node ?? (new URL(this.url).host || this.url);
  }

  /** It is dialled there from now on. A dial of where it was ends: where nobody is left, not even a refusal comes back. */
  moveTo(url: string): void {
    if (url === this.url) return;
    this.url = url;
    this.#dialling?.abort(new ServiceError('node_unavailable', `the node has moved to ${url}`));
  }

  /** @throws what the dial throws, which ends with ServiceError `node_unavailable` when the node moves meanwhile */
  async dialled(dial: Dial, signal: AbortSignal): Promise<Dialled> {
    const dialling = new AbortController();
    const stop = (): void => dialling.abort(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    this.#dialling = dialling;
    try {
      return await dial(dialling.signal);
    } finally {
      signal.removeEventListener('abort', stop);
      this.#dialling = null;
    }
  }

  get shownState(): NodeState {
    if (this.state !== 'up') return this.state;
    if (this.report?.draining || this.standing === 'leaving') return 'draining';
    return this.report?.cordoned === true || this.standing === 'cordoned' ? 'cordoned' : 'ready';
  }

  get ready(): boolean {
    return this.shownState === 'ready';
  }

  get ejected(): boolean {
    return this.health.ejected;
  }

  /** Whether streams can be opened now. */
  get up(): boolean {
    return this.state === 'up' && this.link !== null && this.link.up;
  }

  /** It refused one for want of room a moment ago, and has not reported since. */
  get full(): boolean {
    return performance.now() < this.#fullUntil;
  }

  refused(): void {
    this.#fullUntil = performance.now() + FULL_MS;
    this.health.unsettled();
  }

  /** Whether it may have room by now for what it had none for: told to whoever waits. */
  takeReport(report: NodeReport): boolean {
    const { report: before, ready: wasReady } = this;
    const refused = this.#fullUntil > 0;
    this.report = report;
    this.#fullUntil = 0;
    this.#claimed.clear();
    this.#images = new Set(report.images.map(imageKey));
    return this.ready && (!wasReady || refused || before === null || takesMore(before, report));
  }

  /** What it was told and has taken, ahead of its next report. */
  told(change: Partial<NodeReport>): void {
    if (this.report !== null) this.report = { ...this.report, ...change };
  }

  hasImage(image: string): boolean {
    return this.#images.has(imageKey(image));
  }

  /** Containers that wait for this image, less those asked for since the last report. */
  warmFor(image: string): number {
    const key = imageKey(image);
    let warm = 0;
    for (const pool of this.report?.pools ?? []) {
      const poolKey = pool.key === ANY_IMAGE ? ANY_IMAGE : imageKey(pool.key);
      if (poolKey === ANY_IMAGE || poolKey === key) warm += pool.warm - (this.#claimed.get(poolKey) ?? 0);
    }
    return Math.max(0, warm);
  }

  /** A sandbox of this image was sent here: it counts before the node's next report says so. */
  reserve(image: string): void {
    const key = imageKey(image);
    const pool = this.report?.pools.some((p) => p.key !== ANY_IMAGE && imageKey(p.key) === key) ? key : ANY_IMAGE;
    this.#claimed.set(pool, (this.#claimed.get(pool) ?? 0) + 1);
    this.health.sent();
  }

  open(request: Json, handler: StreamHandler): MuxStream {
    if (!this.up || this.link === null) throw new ServiceError('node_unavailable');
    return this.link.open(request, handler);
  }

  /** One question, one answer; see `ask`. */
  call(request: Json, deadlineMs = CALL_DEADLINE_MS): Promise<Json> {
    return ask(this, request, deadlineMs);
  }

  /**
   * Resolves once streams can be opened.
   * @throws ServiceError `node_unavailable` after `patienceMs` or when the node is lost, the signal's reason.
   */
  async whenUp(patienceMs: number, signal?: AbortSignal): Promise<void> {
    if (this.up) return;
    if (this.state === 'lost' || patienceMs <= 0) throw new ServiceError('node_unavailable');
    const changed = Promise.withResolvers<void>();
    const timer = setTimeout(() => changed.reject(new ServiceError('node_unavailable')), patienceMs);
    const onChange = (): void => {
      if (this.up) changed.resolve();
      else if (this.state === 'lost') changed.reject(new ServiceError('node_unavailable'));
    };
    this.#waiters.add(onChange);
    try {
      await orAbort(signal, changed.promise);
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(onChange);
    }
  }

  setState(state: Node['state']): void {
    this.state = state;
    for (const waiter of [...this.#waiters]) waiter();
  }
}

/** Of a report and the next. What ends on a node is told by itself, and what waits in its pools decides only where. */
function takesMore(before: NodeReport, after: NodeReport): boolean {
  return after.maxSandboxes > before.maxSandboxes || after.cpus > before.cpus || after.memoryMb > before.memoryMb;
}
