/** One node as the gateway sees it: its link, its last report, and what was sent to it since then. */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { orAbort } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeHello, NodeOpen, NodeReport } from '../../protocol/node.ts';
import { imageKey } from '../images/names.ts';
import { Health } from './health.ts';
import type { Dial, Dialled, NodeLink } from './link.ts';
import { RequestLine } from './request-line.ts';
import { ask, type Opener } from './unary.ts';

/**
 * connecting: not connected yet. ready: takes sandboxes. cordoned: the operator keeps new ones away. draining: takes
 * none, and existing ones are to end. away: the link is down, within the grace period. lost: beyond
 * it, or never connected for far longer.
 */
export type NodeState = 'connecting' | 'ready' | 'cordoned' | 'draining' | 'away' | 'lost';

const ANY_IMAGE = '*';
const CALL_DEADLINE_MS = 15_000;
const FULL_MS = 1_000;

/** What discovery says about a node. leaving: it is no longer listed, and is dropped after its last sandbox. */
export type Standing = 'in' | 'cordoned' | 'leaving';

export class Node implements Opener {
  /** The address to dial; it may change. */
  url: string;
  readonly health = new Health();
  readonly #givenName: string | null;
  link: NodeLink | null = null;
  readonly requests = new RequestLine(() => this.link);
  report: NodeReport | null = null;
  hello: NodeHello | null = null;
  /** Set by discovery. Independent of the operator's cordon on the node itself. */
  standing: Standing = 'in';
  state: 'connecting' | 'up' | 'away' | 'lost' = 'connecting';
  /** Live sandboxes here, as far as the gateway knows. */
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

  /** Changes the address. Aborts a dial of the old one, which could hang: there may be nobody left to refuse it. */
  moveTo(url: string): void {
    if (url === this.url) return;
    this.url = url;
    this.#dialling?.abort(new ServiceError('node_unavailable', `the node has moved to ${url}`));
  }

  /** Dials; aborted with ServiceError `node_unavailable` when the address changes. @throws what the dial throws */
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

  /** It refused a sandbox for lack of room a moment ago, and has not reported since. */
  get full(): boolean {
    return performance.now() < this.#fullUntil;
  }

  refused(): void {
    this.#fullUntil = performance.now() + FULL_MS;
    this.health.unsettled();
  }

  /** Takes a report. @returns whether the node may now have room for sandboxes that did not fit before */
  takeReport(report: NodeReport): boolean {
    const { report: before, ready: wasReady } = this;
    const refused = this.#fullUntil > 0;
    this.report = report;
    this.#fullUntil = 0;
    this.#claimed.clear();
    this.#images = new Set(report.images.map(imageKey));
    return this.ready && (!wasReady || refused || before === null || takesMore(before, report));
  }

  /** Applies a change that the node has confirmed, ahead of its next report. */
  applyChange(change: Partial<NodeReport>): void {
    if (this.report !== null) this.report = { ...this.report, ...change };
  }

  hasImage(image: string): boolean {
    return this.#images.has(imageKey(image));
  }

  /** Warm containers for this image, less those used since the last report. */
  warmFor(image: string): number {
    const key = imageKey(image);
    let warm = 0;
    for (const pool of this.report?.pools ?? []) {
      const poolKey = pool.key === ANY_IMAGE ? ANY_IMAGE : imageKey(pool.key);
      if (poolKey === ANY_IMAGE || poolKey === key) warm += pool.warm - (this.#claimed.get(poolKey) ?? 0);
    }
    return Math.max(0, warm);
  }

  /** A sandbox of this image was sent here: counts its warm container as used until the next report. */
  reserve(image: string): void {
    const key = imageKey(image);
    const pool = this.report?.pools.some((p) => p.key !== ANY_IMAGE && imageKey(p.key) === key) ? key : ANY_IMAGE;
    this.#claimed.set(pool, (this.#claimed.get(pool) ?? 0) + 1);
    this.health.sent();
  }

  open(request: NodeOpen, handler: StreamHandler): MuxStream {
    if (!this.up || this.link === null) throw new ServiceError('node_unavailable');
    return this.link.open(request, handler);
  }

  /** A unary call; see `ask`. */
  call(request: NodeOpen, deadlineMs = CALL_DEADLINE_MS): Promise<Json> {
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

/**
 * Whether the node's capacity grew between two reports. Ended sandboxes are reported separately, and pools only affect
 * the choice of node.
 */
function takesMore(before: NodeReport, after: NodeReport): boolean {
  return after.maxSandboxes > before.maxSandboxes || after.cpus > before.cpus || after.memoryMb > before.memoryMb;
}
