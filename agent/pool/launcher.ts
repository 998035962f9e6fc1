/** Launches a container and waits for its boxinit, adopts an existing one, or destroys one. */
import { randomBytes } from 'node:crypto';
import { sleep } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Network } from '../../src/protocol/sandbox.ts';
import type { Container, ContainerRuntime, Image, Limits } from '../runtime/runtime.ts';
import { SupervisorLink } from '../supervisor/supervisor-link.ts';
import type { ContainerHomes, ContainerMeta } from './container-homes.ts';

/** From a container's start to boxinit's first connection, on a busy machine. */
const ARRIVAL_MS = 30_000;
/** boxinit redials at least once a second. */
const READOPTION_MS = 15_000;
const DESTROY_PAUSES_MS = [200, 1_000, 5_000, 15_000];
/** Concurrent removals: a Docker engine that is removing a hundred containers starts none meanwhile. */
const MAX_REMOVALS = 8;
const SETTLE_LOOK_MS = 20;

/** A container whose boxinit has connected. It has one owner at a time: a pool, then a sandbox. */
export interface Launched {
  readonly container: Container;
  readonly link: SupervisorLink;
  readonly poolKey: string;
  readonly limits: Limits;
  readonly network: Network;
}

export interface LaunchSpec {
  poolKey: string;
  /** Undefined for a blank. */
  image: Image | undefined;
  limits: Limits;
  network: Network;
}

/** A container that is being started. */
interface Pending {
  link: SupervisorLink | undefined;
  /** It has already exited. */
  ended: boolean;
}

export class Launcher {
  readonly #runtime: ContainerRuntime;
  readonly #homes: ContainerHomes;
  readonly #log: Logger;
  readonly #pending = new Map<string, Pending>();
  readonly #destroying = new Map<string, Promise<void>>();
  #removals = 0;
  readonly #removalTurns: (() => void)[] = [];

  constructor(runtime: ContainerRuntime, homes: ContainerHomes, log: Logger) {
    this.#runtime = runtime;
    this.#homes = homes;
    this.#log = log;
  }

  /** Whether it is being started, and so not an orphan although it has no owner yet. */
  isPending(id: string): boolean {
    return this.#pending.has(id) || this.#destroying.has(id);
  }

  /** @throws ServiceError as the runtime's, `deadline_exceeded` if boxinit does not connect. Nothing is left behind. */
  async launch(spec: LaunchSpec, signal: AbortSignal): Promise<Launched> {
    const meta: ContainerMeta = {
      id: newContainerId(),
      token: randomBytes(32).toString('base64url'),
      image: spec.image ?? null,
      poolKey: spec.poolKey,
      limits: spec.limits,
      network: spec.network,
    };
    const pending: Pending = { link: undefined, ended: false };
    this.#pending.set(meta.id, pending);
    try {
      await this.#homes.create(meta);
      const link = await this.#listen(meta);
      pending.link = link;
      const container = await this.#runtime.launch({
        id: meta.id,
        ...(spec.image === undefined ? {} : { image: spec.image }),
        limits: spec.limits,
        network: spec.network,
        socketDir: this.#homes.socketDir(meta.id),
        token: meta.token,
        signal,
      });
      await link.arrival({ signal, deadlineMs: ARRIVAL_MS });
      return { container, link, poolKey: spec.poolKey, limits: spec.limits, network: spec.network };
    } catch (error) {
      void this.discard(meta.id, pending.link);
      // The container's fault, not its claim's, which waits for another one.
      throw pending.ended ? new ServiceError('node_unavailable', 'the container exited at start') : error;
    } finally {
      this.#pending.delete(meta.id);
    }
  }

  /** The runtime reports that a starting container has exited: stops waiting for its boxinit. */
  exited(id: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    pending.ended = true;
    pending.link?.close();
  }

  /** Listens for the boxinit of an earlier agent's container, which may connect later. */
  async relisten(meta: ContainerMeta): Promise<Launched> {
    const link = await this.#listen(meta);
    const container = { id: meta.id, imageId: meta.image?.id ?? null };
    return { container, link, poolKey: meta.poolKey, limits: meta.limits, network: meta.network };
  }

  /** Waits for its boxinit. @throws ServiceError `deadline_exceeded` if it does not reconnect. */
  async readopt(launched: Launched, signal: AbortSignal): Promise<void> {
    await launched.link.arrival({ signal, deadlineMs: READOPTION_MS });
  }

  /** Resolves once no start or removal is in progress. */
  async settled(signal: AbortSignal): Promise<void> {
    while ((this.#pending.size > 0 || this.#destroying.size > 0) && !signal.aborted) {
      await Promise.race([...this.#destroying.values(), sleep(SETTLE_LOOK_MS, signal).catch(() => undefined)]);
    }
  }

  /** Records that user code will run in the container. */
  claimed(launched: Launched): void {
    this.#homes.markClaimed(launched.container.id);
  }

  /**
   * Destroys the container and everything made for it. Never rejects; if removal fails, the orphan search finds it
   * later.
   */
  discard(id: string, link?: SupervisorLink): Promise<void> {
    link?.close();
    const running = this.#destroying.get(id);
    if (running !== undefined) return running;
    const work = this.#destroy(id).finally(() => this.#destroying.delete(id));
    this.#destroying.set(id, work);
    return work;
  }

  async #destroy(id: string): Promise<void> {
    for (const pauseMs of [...DESTROY_PAUSES_MS, undefined]) {
      try {
        await this.#inTurn(() => this.#runtime.destroy(id));
        await this.#homes.remove(id);
        return;
      } catch (error) {
        this.#log.warn({ err: error, container: id }, 'a container could not be destroyed');
        if (pauseMs !== undefined) await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
      }
    }
  }

  async #inTurn(remove: () => Promise<void>): Promise<void> {
    if (this.#removals >= MAX_REMOVALS) await new Promise<void>((resolve) => this.#removalTurns.push(resolve));
    else this.#removals += 1;
    try {
      await remove();
    } finally {
      const next = this.#removalTurns.shift();
      if (next === undefined) this.#removals -= 1;
      else next();
    }
  }

  #listen(meta: ContainerMeta): Promise<SupervisorLink> {
    return SupervisorLink.listen({
      id: meta.id,
      socketPath: this.#homes.socketPath(meta.id),
      token: meta.token,
      log: this.#log,
    });
  }
}

function newContainerId(): string {
  return `mbx-${randomBytes(10).toString('hex')}`;
}

/** Whether another attempt with the same image could succeed. */
export function worthAnotherLaunch(error: unknown): boolean {
  if (!(error instanceof ServiceError)) return true;
  return !['capacity_exhausted', 'cancelled', 'not_supported'].includes(error.code) && !error.code.startsWith('image_');
}
