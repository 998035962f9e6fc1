/**
 * The one interface behind which containers are made. `agent/runtime/contract` holds every implementation to it. Only
 * the cold path goes through here: nothing of a runtime is called for an exec.
 */
import type { Supervisor } from '../supervisor/supervisor.ts';

export interface Limits {
  cpus: number;
  memoryMb: number;
  /** null: no limit of its own. */
  diskMb: number | null;
  pidsLimit: number;
}

/** An image that is on this node, and what it says about the programs that run in it. */
export interface Image {
  /** As it was asked for. */
  ref: string;
  /** Content digest: two references to one image have one id. */
  id: string;
  env: Record<string, string>;
  workdir: string;
  user: string;
}

export interface PullProgress {
  image: string;
  doneBytes: number;
  /** 0 while it is not known. */
  totalBytes: number;
  message: string;
}

/** Images of a node. One pull is shared by all who wait for it. */
export interface Images {
  /**
   * The image, pulled if it is not here.
   * @throws ServiceError `image_not_found`, `image_unauthorized`, `image_unreachable`, `image_invalid`.
   */
  ensure(ref: string, options: { signal?: AbortSignal; onProgress?: (p: PullProgress) => void }): Promise<Image>;
  /** The image if it is here, without asking anyone. Called on the path of a create: fast. */
  get(ref: string): Image | undefined;
  list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]>;
  /** @throws ServiceError `image_not_found`, or `invalid_request` while a sandbox uses it. */
  remove(ref: string): Promise<void>;
  /** Takes an image from a `docker save` or OCI archive, or a root file system as tar. */
  importTar?(ref: string, path: string, signal?: AbortSignal): Promise<Image>;
}

/** A container that has been started: it waits in a pool, or belongs to a sandbox. */
export interface Container {
  /** Ours, and the same across a restart of the agent. */
  readonly id: string;
  /** Image id; null for a blank. */
  readonly imageId: string | null;
}

export interface LaunchOptions {
  id: string;
  /** Absent: a blank, which only an image-agnostic runtime can start. */
  image?: Image;
  limits: Limits;
  network: 'off' | 'internet';
  /** Directory on the host that holds `agent.sock`; boxinit finds it inside, read-only. */
  socketDir: string;
  /** boxinit proves itself with it. Never put it in a process argument. */
  token: string;
  signal?: AbortSignal;
}

export interface ClaimOptions {
  /** The sandbox's id: its hostname. */
  sandbox: string;
  image: Image;
  limits: Limits;
  network: 'off' | 'internet';
  signal?: AbortSignal;
}

export interface ContainerRuntime {
  readonly name: 'docker' | 'oci' | 'gvisor' | 'fake';
  /** Whether `launch` without an image makes blanks that any image can claim. */
  readonly imageAgnostic: boolean;
  /** Whether a container launched with these limits and network can be given to a claim that wants others. */
  canClaim(launched: { limits: Limits; network: string }, wanted: ClaimOptions): boolean;
  readonly images: Images;

  /**
   * Creates and starts a container in which boxinit dials `socketDir/agent.sock`. Resolves once the container runs (not:
   * once boxinit has called; the caller waits for that).
   * @throws ServiceError `capacity_exhausted` when the machine has no room, `internal` otherwise.
   */
  launch(options: LaunchOptions): Promise<Container>;
  /**
   * Gives a waiting container to a sandbox: image (blanks), limits, hostname. Milliseconds. That it resolves is the promise
   * that an exec works: boxinit has answered since the container became what it is.
   */
  claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void>;
  /** Kills and removes; safe to repeat; resolves once no process of it is left. */
  destroy(id: string): Promise<void>;
  /** Every container of this agent (told apart by its data directory) that exists, running or not. */
  list(): Promise<{ id: string; running: boolean; imageId: string | null }[]>;
  /** How often the kernel killed for memory in this container since it was launched. */
  oomKills(id: string): Promise<number>;
  /** Calls back when a container stops by itself. Returns the unsubscribe. */
  onExit(callback: (id: string, exit: { oomKilled: boolean }) => void): () => void;
  /** Lets go of what the runtime holds in this process; containers live on. */
  close(): Promise<void>;
}
