/**
 * The interface of container runtimes. `agent/runtime/contract` tests every implementation. Only the cold path uses it:
 * an exec makes no call to a runtime.
 */
import type { Supervisor } from '../supervisor/supervisor.ts';
import type { ExitListener } from './exit-listeners.ts';

export interface Limits {
  cpus: number;
  memoryMb: number;
  /** null: no limit of its own. */
  diskMb: number | null;
  pidsLimit: number;
}

/** An image on this node, with its settings for programs. */
export interface Image {
  /** As requested. */
  ref: string;
  /** Content digest: two references to one image have the same id. */
  id: string;
  env: Record<string, string>;
  workdir: string;
  user: string;
}

export interface PullProgress {
  image: string;
  doneBytes: number;
  /** 0 while unknown. */
  totalBytes: number;
  message: string;
}

export interface EnsureOptions {
  signal?: AbortSignal;
  onProgress?: (p: PullProgress) => void;
  /** Whose sandbox is waiting for it: tenants take turns. Absent: the operator. */
  tenant?: string;
}

export interface Refreshed {
  image: Image;
  /** Whether the reference now names a different image, or one for the first time. */
  changed: boolean;
}

/** A node's images. A pull is shared by all who wait for it. */
export interface Images {
  /**
   * The image; pulled if it is not on the node.
   * @throws ServiceError `image_not_found`, `image_unauthorized`, `image_unreachable`, `image_invalid`.
   */
  ensure(ref: string, options: EnsureOptions): Promise<Image>;
  /**
   * The image that the registry has under this reference now; nothing is pulled if it is already on the node. A running
   * sandbox keeps its image; later callers get the new one. A digest cannot move, so it is not looked up again.
   * @throws ServiceError as `ensure`; the reference then names what it named before.
   */
  refresh(ref: string, options: EnsureOptions): Promise<Refreshed>;
  /** The image, if it is on the node. Called on the create path, so it must be fast and local. */
  get(ref: string): Image | undefined;
  list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]>;
  /** @throws ServiceError `image_not_found`, or `invalid_request` while a sandbox uses it. */
  remove(ref: string): Promise<void>;
  /** Imports a `docker save` or OCI archive, or a root file system as tar. */
  importTar?(ref: string, path: string, signal?: AbortSignal): Promise<Image>;
}

/** A started container: warm in a pool, or owned by a sandbox. */
export interface Container {
  /** Chosen by the agent; stable across its restarts. */
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
  /** Directory on the host that holds `agent.sock`, mounted read-only for boxinit. */
  socketDir: string;
  /** Authenticates boxinit. Never put it in a process argument. */
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
  /** Whether `launch` without an image makes blanks, which any image can claim. */
  readonly imageAgnostic: boolean;
  /** Whether a container launched with these limits and network can serve this claim. */
  canClaim(launched: { limits: Limits; network: string }, wanted: ClaimOptions): boolean;
  readonly images: Images;
  /** The largest `diskMb` that this node can hold. Absent: known only to the engine that starts the container. */
  readonly maxDiskMb?: number;

  /**
   * Creates and starts a container in which boxinit dials `socketDir/agent.sock`. Resolves once the container is
   * running; the caller waits for boxinit's connection.
   * @throws ServiceError `capacity_exhausted` if the machine has no room, `image_not_found` if the image was removed,
   * `internal` otherwise.
   */
  launch(options: LaunchOptions): Promise<Container>;
  /**
   * Gives a warm container to a sandbox: image (for blanks), limits, hostname. Takes milliseconds. Once it resolves, an
   * exec works: boxinit has answered since the change.
   * @throws ServiceError `image_not_found` when the image was removed, those of the container otherwise.
   */
  claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void>;
  /** Kills and removes it. Idempotent. Resolves once none of its processes is left. */
  destroy(id: string): Promise<void>;
  /** All containers of this agent (identified by its data directory), running or not. */
  list(): Promise<{ id: string; running: boolean; imageId: string | null }[]>;
  /** OOM kills in this container since its launch. */
  oomKills(id: string): Promise<number>;
  /** Calls back when a container stops by itself. Returns a function that unsubscribes. */
  onExit(callback: ExitListener): () => void;
  /** Releases what the runtime holds in this process; containers continue. */
  close(): Promise<void>;
}
