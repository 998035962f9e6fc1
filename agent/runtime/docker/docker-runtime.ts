/** The runtime `docker`: create, start, update, remove and list containers through a Docker engine. */
import type Docker from 'dockerode';
import { background } from '../../../src/lib/background.ts';
import { orAbort, withDeadline } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { retryTransient } from '../../sandboxes/transient-errors.ts';
import type { Supervisor } from '../../supervisor/supervisor.ts';
import { ExitListeners, type ExitListener } from '../exit-listeners.ts';
import type { ClaimOptions, Container, ContainerRuntime, Image, LaunchOptions, Limits } from '../runtime.ts';
import { ID_LABEL, OWNER_LABEL, createOptions, limitsOf, ownerOf } from './create-options.ts';
import { dockerError, isImageGone, isTransient, statusOf, textOf } from './docker-errors.ts';
import { DockerImages } from './docker-images.ts';
import { followEvents } from './events.ts';
import type { Internet } from './internet.ts';
import { countOomKills } from './oom-count.ts';

/** A busy engine takes seconds for a create; one that takes this long is stuck. */
const CREATE_MS = 60_000;
const CALL_MS = 30_000;
const REMOVE_MS = 60_000;

interface Known {
  imageId: string;
  /** Null if an earlier agent has set them. */
  limits: Limits | null;
  /** PID 1's id on the host; null until it is looked up. */
  pid: number | null;
}

interface DockerRuntimeOptions {
  docker: Docker;
  internet: Internet;
  dataDir: string;
  boxinitPath: string;
  log: Logger;
}

export class DockerRuntime implements ContainerRuntime {
  readonly name = 'docker' as const;
  readonly imageAgnostic = false;
  readonly images: DockerImages;
  readonly #docker: Docker;
  readonly #host: { owner: string; boxinitPath: string };
  readonly #log: Logger;
  readonly #internet: Internet;
  readonly #known = new Map<string, Known>();
  /** Whether those of an earlier agent are among them. */
  #adopted = false;
  /** Create requests that Docker has not answered yet. */
  readonly #making = new Map<string, Promise<void>>();
  readonly #listeners: ExitListeners;
  readonly #closing = new AbortController();
  readonly #events: Promise<void>;

  constructor({ docker, internet, dataDir, boxinitPath, log }: DockerRuntimeOptions) {
    this.#docker = docker;
    this.#host = { owner: ownerOf(dataDir), boxinitPath };
    this.#log = log;
    this.#listeners = new ExitListeners(log);
    this.#internet = internet;
    this.images = new DockerImages(docker, {
      inUse: () => new Set([...this.#known.values()].map(({ imageId }) => imageId)),
      log,
    });
    this.#events = followEvents(
      {
        docker,
        owner: this.#host.owner,
        log,
        died: (id) => background(this.#died(id), 'a container that died', log),
        missed: () => background(this.#lookForDead(), 'containers that died unseen', log),
      },
      this.#closing.signal,
    );
  }

  /** Docker can change the limits of a running container, but not its network or disk size. */
  canClaim(launched: { limits: Limits; network: string }, wanted: ClaimOptions): boolean {
    return launched.network === wanted.network && launched.limits.diskMb === wanted.limits.diskMb;
  }

  async launch(options: LaunchOptions): Promise<Container> {
    const { id, image, limits, signal } = options;
    if (image === undefined) throw new ServiceError('internal', 'Docker cannot start a container without an image');
    this.#known.set(id, { imageId: image.id, limits, pid: null });
    const made = this.#make({ ...options, image });
    // Docker completes a request even if its caller has disconnected. So none is abandoned: a destroy waits for it.
    const settled = made.then(
      () => undefined,
      () => undefined,
    );
    this.#making.set(id, settled);
    void settled.then(() => this.#making.delete(id));
    try {
      await orAbort(signal, made);
    } catch (error) {
      background(this.destroy(id), 'removing a container that did not start', this.#log);
      if (!(error instanceof ServiceError && isImageGone(error.cause))) throw explainDisk(error, limits);
      this.images.forget(image.id);
      throw new ServiceError('image_not_found', 'the image was removed', { cause: error });
    }
    return { id, imageId: image.id };
  }

  async #make(options: LaunchOptions & { image: Image }): Promise<void> {
    const { id, signal } = options;
    const network = options.network === 'off' ? 'none' : await this.#internet.ready();
    signal?.throwIfAborted();
    await this.#call('the creation of a container', CREATE_MS, undefined, () =>
      this.#docker.createContainer(createOptions(options, { ...this.#host, network })),
    );
    signal?.throwIfAborted();
    await this.#call('the start of a container', CREATE_MS, undefined, () => this.#docker.getContainer(id).start());
  }

  async claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void> {
    const known = this.#known.get(container.id);
    if (!known?.limits || !sameLimits(known.limits, options.limits)) {
      await this.#call('the limits of a container', CALL_MS, options.signal, (abortSignal) =>
        this.#docker.getContainer(container.id).update({ ...limitsOf(options.limits), abortSignal }),
      );
      if (known !== undefined) known.limits = options.limits;
    }
    await supervisor.ping();
    if (options.image.workdir !== '/') await this.#makeWorkdir(supervisor, options);
  }

  /**
   * By boxinit: the engine would do it too, but where the image has something in the way, no container would start. The
   * commands that begin there report that.
   */
  async #makeWorkdir(supervisor: Supervisor, { image, signal }: ClaimOptions): Promise<void> {
    try {
      await supervisor.call({ op: 'file', call: 'mkdir', path: image.workdir }, signal === undefined ? {} : { signal });
    } catch (error) {
      if (!(error instanceof ServiceError && error.code.startsWith('file_'))) throw error;
      this.#log.debug({ err: error, image: image.ref }, 'the working directory of an image was not created');
    }
  }

  async destroy(id: string): Promise<void> {
    this.#known.delete(id);
    await this.#making.get(id);
    try {
      await this.#call('the removal of a container', REMOVE_MS, undefined, () =>
        this.#docker.getContainer(id).remove({ force: true, v: true }),
      );
    } catch (error) {
      const status = error instanceof ServiceError ? statusOf(error.cause) : undefined;
      if (status === 404) return;
      // A removal is already in progress.
      if (status === 409) return await this.#gone(id);
      throw error;
    }
  }

  async list(): Promise<{ id: string; running: boolean; imageId: string | null }[]> {
    const filters = { label: [`${OWNER_LABEL}=${this.#host.owner}`] };
    const containers = await this.#call('the list of containers', CALL_MS, undefined, () =>
      this.#docker.listContainers({ all: true, filters }),
    );
    const listed = containers.flatMap((container) => {
      const id = container.Labels[ID_LABEL];
      if (id === undefined) return [];
      return [{ id, running: container.State === 'running', imageId: container.ImageID }];
    });
    this.#adopt(listed.filter(({ running }) => running));
    return listed;
  }

  /** Only from the first list: a later one may show a container that has been destroyed since. */
  #adopt(running: readonly { id: string; imageId: string }[]): void {
    if (this.#adopted) return;
    this.#adopted = true;
    for (const { id, imageId } of running) {
      if (!this.#known.has(id)) this.#known.set(id, { imageId, limits: null, pid: null });
    }
  }

  async oomKills(id: string): Promise<number> {
    const known = this.#known.get(id);
    const pid = known?.pid ?? (await this.#inspect(id)).pid;
    const counted = await retryTransient(() => countOomKills(pid));
    if (known !== undefined) known.pid = pid;
    return counted ?? ((await this.#inspect(id)).oomKilled ? 1 : 0);
  }

  onExit(callback: ExitListener): () => void {
    return this.#listeners.add(callback);
  }

  async close(): Promise<void> {
    this.#closing.abort(new ServiceError('cancelled'));
    this.#listeners.clear();
    await this.#events;
    await this.#internet.close();
  }

  async #died(id: string): Promise<void> {
    const oomKilled = await this.#wasOomKilled(id).catch((error: unknown) => {
      this.#log.warn({ err: error, container: id }, 'the reason why a container ended is unknown');
      return null;
    });
    this.#listeners.tell(id, oomKilled);
  }

  /** An engine that is busy or restarts is asked again. */
  async #wasOomKilled(id: string): Promise<boolean> {
    const look = (signal: AbortSignal) => retryTransient(() => this.#inspect(id), signal, isTransient);
    const options = { deadlineMs: CALL_MS, signal: this.#closing.signal, what: 'why a container ended' };
    return (await withDeadline(options, look)).oomKilled;
  }

  async #lookForDead(): Promise<void> {
    // Before the list: one that is being made runs only after it.
    const ran = [...this.#known.keys()].filter((id) => !this.#making.has(id));
    const running = new Set((await this.list()).filter(({ running }) => running).map(({ id }) => id));
    for (const id of ran) if (!running.has(id) && this.#known.has(id)) await this.#died(id);
  }

  async #inspect(id: string): Promise<{ pid: number; oomKilled: boolean }> {
    const { State } = await this.#call('the look at a container', CALL_MS, undefined, () =>
      this.#docker.getContainer(id).inspect(),
    );
    return { pid: State.Pid, oomKilled: State.OOMKilled };
  }

  async #gone(id: string): Promise<void> {
    try {
      await this.#call('the removal of a container', REMOVE_MS, undefined, () =>
        this.#docker.getContainer(id).wait({ condition: 'removed' }),
      );
    } catch (error) {
      if (!(error instanceof ServiceError && statusOf(error.cause) === 404)) throw error;
    }
  }

  async #call<T>(
    what: string,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    try {
      return await withDeadline({ deadlineMs, signal, what }, work);
    } catch (error) {
      throw dockerError(error, what, this.#log);
    }
  }
}

const sameLimits = (a: Limits, b: Limits): boolean =>
  a.cpus === b.cpus && a.memoryMb === b.memoryMb && a.pidsLimit === b.pidsLimit && a.diskMb === b.diskMb;

/** An error if Docker's storage driver cannot limit disks, which a retry would not change. */
function explainDisk(error: unknown, limits: Limits): unknown {
  const text = error instanceof ServiceError && error.cause !== undefined ? textOf(error.cause) : '';
  if (limits.diskMb === null || !/storage-opt|storage opt|pquota|quota/i.test(text)) return error;
  return new ServiceError('not_supported', 'this Docker cannot limit the disk of a container', { cause: error });
}
