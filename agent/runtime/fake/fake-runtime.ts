/** Containers that are objects of this process, for tests that need no Linux. */
import path from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { Supervisor } from '../../supervisor/supervisor.ts';
import type { Exit, ExitListener } from '../exit-listeners.ts';
import type { ClaimOptions, Container, ContainerRuntime, LaunchOptions } from '../runtime.ts';
import { FakeBoxinit } from './fake-boxinit.ts';
import { FakeImages } from './fake-images.ts';

export interface FakeRuntimeOptions {
  imageAgnostic?: boolean;
  /** How long a container takes to start. */
  launchMs?: number;
  pullMs?: number;
}

interface FakeContainer extends Container {
  boxinit: FakeBoxinit | null;
}

export class FakeRuntime implements ContainerRuntime {
  readonly name = 'fake' as const;
  readonly imageAgnostic: boolean;
  readonly images: FakeImages;
  readonly #launchMs: number;
  readonly #containers = new Map<string, FakeContainer>();
  readonly #listeners = new Set<ExitListener>();
  readonly #oomKills = new Map<string, number>();
  /** For tests: errors for the next launches. */
  readonly failures: Error[] = [];
  launches = 0;

  constructor(options: FakeRuntimeOptions = {}) {
    this.imageAgnostic = options.imageAgnostic ?? false;
    this.#launchMs = options.launchMs ?? 0;
    this.images = new FakeImages(options.pullMs ?? 0);
  }

  canClaim(launched: { network: string }, wanted: ClaimOptions): boolean {
    return launched.network === wanted.network;
  }

  async launch(options: LaunchOptions): Promise<Container> {
    if (options.image === undefined && !this.imageAgnostic) throw new ServiceError('internal', 'no blanks here');
    this.launches += 1;
    await new Promise((resolve) => setTimeout(resolve, this.#launchMs));
    options.signal?.throwIfAborted();
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    if (options.image !== undefined) this.images.need(options.image.id);
    const { id, image, token, socketDir } = options;
    const boxinit = new FakeBoxinit({
      socketPath: path.join(socketDir, 'agent.sock'),
      token,
      blank: image === undefined,
    });
    const container: FakeContainer = { id, imageId: image?.id ?? null, boxinit };
    this.#containers.set(id, container);
    return { id, imageId: container.imageId };
  }

  async claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void> {
    options.signal?.throwIfAborted();
    if (this.#containers.get(container.id)?.boxinit === null) {
      throw new ServiceError('internal', 'the container has ended');
    }
    if (container.imageId === null) this.images.need(options.image.id);
    await supervisor.ping();
  }

  destroy(id: string): Promise<void> {
    this.#containers.get(id)?.boxinit?.stop();
    this.#containers.delete(id);
    return Promise.resolve();
  }

  list(): Promise<{ id: string; running: boolean; imageId: string | null }[]> {
    const all = [...this.#containers.values()];
    return Promise.resolve(all.map(({ id, imageId, boxinit }) => ({ id, imageId, running: boxinit !== null })));
  }

  oomKills(id: string): Promise<number> {
    return Promise.resolve(this.#oomKills.get(id) ?? 0);
  }

  onExit(callback: ExitListener): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  async close(): Promise<void> {
    // Containers outlive the runtime; these live as long as this object.
  }

  /** For tests: the container dies by itself. */
  kill(id: string, exit: Exit = { oomKilled: false }): void {
    const container = this.#containers.get(id);
    if (container === undefined) return;
    container.boxinit?.stop();
    container.boxinit = null;
    for (const listener of this.#listeners) listener(id, exit);
  }

  /** For tests: breaks a container's link; its boxinit redials. */
  cut(id: string): void {
    this.#containers.get(id)?.boxinit?.cut();
  }

  /** For tests: boxinit goes silent and does not redial; the container keeps running. */
  silence(id: string): void {
    this.#containers.get(id)?.boxinit?.stop();
  }

  /** For tests. */
  countOomKill(id: string): void {
    this.#oomKills.set(id, (this.#oomKills.get(id) ?? 0) + 1);
  }

  /** For tests: destroys everything. */
  destroyAll(): void {
    for (const id of [...this.#containers.keys()]) void this.destroy(id);
  }
}
