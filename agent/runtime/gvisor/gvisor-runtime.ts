/**
 * The runtime `gvisor`: containers on gVisor's user-space kernel, run by `runsc`. Their root file system is served from
 * the host, and no overlay can be mounted over it from inside. So each container is made for one image, and pools are
 * per image.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { ImageStore } from '../../images/image-store.ts';
import { retryTransient } from '../../sandboxes/transient-errors.ts';
import type { Supervisor } from '../../supervisor/supervisor.ts';
import { ExitListeners, type ExitListener } from '../exit-listeners.ts';
import { etcFiles } from '../oci/etc-files.ts';
import { removeAgentGroups } from '../oci/box-groups.ts';
import type { Box, Boxes } from '../oci/boxes.ts';
import { readOomKills, writeLimits } from '../oci/cgroup-limits.ts';
import { makeGroup, type CgroupTree } from '../oci/cgroup-tree.ts';
import type { Disks } from '../oci/disk.ts';
import { endGroup, endProcesses } from '../oci/ending.ts';
import { ExitPoller } from '../oci/exit-poller.ts';
import type { Network } from '../oci/network/network.ts';
import { runInNetworkOf } from '../oci/network/tools.ts';
import type { StaleCgroups } from '../oci/stale-cgroups.ts';
import { identify, isAlive } from '../oci/pids.ts';
import type { RuntimeCli } from '../oci/runtime-cli.ts';
import { InFlight } from '../oci/in-flight.ts';
import { UnreadableBoxes } from '../oci/unreadable-boxes.ts';
import type { ClaimOptions, Container, ContainerRuntime, Image, LaunchOptions, Limits } from '../runtime.ts';
import { mountRoot, unmountBelow } from './root-mount.ts';
import { containerSpec, INSIDE } from './spec.ts';
import { prepareUpper } from './upper.ts';

const HOSTNAME = 'sandbox';
const CLAIM_MS = 10_000;
/**
 * A sandbox's task limit on the node. gVisor's kernel enforces the sandbox's own process limit, uses several host tasks
 * per process, and does not survive being refused one. So this limit is generous and protects only the node.
 */
const PIDS_ON_THE_NODE = 16_384;

interface GvisorDeps {
  boxes: Boxes;
  tree: CgroupTree;
  /** The same program with the flags for each network. */
  cli: Readonly<Record<ClaimOptions['network'], RuntimeCli>>;
  images: ImageStore;
  disks: Disks;
  network: Network;
  /** The cgroup of this agent's containers. */
  group: string;
  boxinitPath: string;
  staleCgroups: StaleCgroups;
  log: Logger;
}

export class GvisorRuntime implements ContainerRuntime {
  readonly name = 'gvisor';
  readonly imageAgnostic = false;
  readonly images: ImageStore;
  readonly maxDiskMb: number;
  readonly #deps: GvisorDeps;
  readonly #exits: ExitPoller;
  readonly #listeners: ExitListeners;
  readonly #launching = new InFlight();
  readonly #unread: UnreadableBoxes;

  constructor(deps: GvisorDeps) {
    this.#deps = deps;
    this.#listeners = new ExitListeners(deps.log);
    this.images = deps.images;
    this.maxDiskMb = deps.disks.maxMb;
    this.#exits = new ExitPoller((id) => void this.#gone(id));
    const { boxes, images, tree, group } = deps;
    const groupsOf = (id: string): string[] => [`${group}/${id}`];
    this.#unread = new UnreadableBoxes({ boxes, images, tree, groupsOf, adopt: (id, box) => this.#adopt(id, box) });
    for (const id of boxes.ids()) {
      // Its veth pair was created before its record.
      deps.network.adopt(id, boxes.dirOf(id));
      if (boxes.wasStarted(id)) this.#unread.found(id);
    }
  }

  #adopt(id: string, box: Box): void {
    if (box.imageId !== null) this.images.hold(box.imageId);
    if (isAlive(box)) this.#exits.watch(id, box);
  }

  /** Disk and network must exist before the container's kernel starts. */
  canClaim(launched: { limits: Limits; network: string }, wanted: ClaimOptions): boolean {
    return launched.network === wanted.network && launched.limits.diskMb === wanted.limits.diskMb;
  }

  async launch(options: LaunchOptions): Promise<Container> {
    const launch = this.#launch(options).catch(async (error: unknown) => {
      await this.#end(options.id);
      throw error;
    });
    return await this.#launching.run(options.id, launch);
  }

  async claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void> {
    const box = this.#unread.get(container.id);
    if (box === undefined) throw new ServiceError('node_unavailable', 'the container is gone');
    const { pidsLimit } = options.limits;
    writeLimits(this.#deps.tree, box.cgroup, { ...options.limits, pidsLimit: PIDS_ON_THE_NODE });
    await supervisor.call({ op: 'limit', processes: pidsLimit }, { deadlineMs: CLAIM_MS });
  }

  async destroy(id: string): Promise<void> {
    await this.#launching.over(id);
    await this.#end(id);
  }

  async list(): Promise<{ id: string; running: boolean; imageId: string | null }[]> {
    const { boxes } = this.#deps;
    await this.#unread.readAgain();
    return boxes.ids().map((id) => {
      return { id, running: this.#unread.lives(id), imageId: boxes.get(id)?.imageId ?? null };
    });
  }

  async oomKills(id: string): Promise<number> {
    const { boxes, tree, group } = this.#deps;
    const cgroup = boxes.get(id)?.cgroup ?? `${group}/${id}`;
    return await retryTransient(() => readOomKills(tree, cgroup));
  }

  onExit(callback: ExitListener): () => void {
    return this.#listeners.add(callback);
  }

  async close(): Promise<void> {
    this.#exits.close();
    this.#listeners.clear();
    const { boxes, tree, group, disks, network, staleCgroups } = this.#deps;
    await network.close();
    await disks.close(true);
    await boxes.allRemoved();
    removeAgentGroups(tree, dirname(group));
    staleCgroups.close();
  }

  processOf(id: string): Box | undefined {
    return this.#deps.boxes.get(id);
  }

  async #launch(options: LaunchOptions): Promise<Container> {
    const { image } = options;
    if (image === undefined) throw new ServiceError('not_supported', 'gVisor has no containers without an image');
    // Before anything is created. Once there is a box, removing it releases the image.
    this.images.hold(image.id);
    const box = await this.#make(image, options).catch((error: unknown) => {
      this.images.release(image.id);
      throw error;
    });
    options.signal?.throwIfAborted();
    this.#exits.watch(box.id, box);
    return { id: box.id, imageId: image.id };
  }

  async #make(image: Image, options: LaunchOptions): Promise<Box> {
    const { id, network, socketDir, token } = options;
    const { boxes, tree, group, boxinitPath } = this.#deps;
    const dir = await boxes.make(id);
    const cgroup = `${group}/${id}`;
    const root = join(dir, 'root');
    await this.#makeRoot(root, image, options);
    makeGroup(tree, cgroup);
    const spec = containerSpec({ root, hostname: HOSTNAME, boxinitPath, socketDir, cgroupPath: `/${cgroup}`, token });
    await writeFile(join(dir, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
    const pid = network === 'internet' ? await this.#startOnline(id, dir) : await this.#start(id, dir);
    const process = identify(pid);
    if (process === undefined) throw new ServiceError('internal', `${INSIDE.boxinit} ended at its start`);
    return boxes.started(id, process, { cgroup, by: 'runtime', imageId: image.id });
  }

  async #makeRoot(root: string, image: Image, { id, limits, network: wanted }: LaunchOptions): Promise<void> {
    const { boxes, disks, network } = this.#deps;
    const dir = boxes.dirOf(id);
    const own = limits.diskMb === null ? dir : await disks.mount(id, join(dir, 'disk.ext4'), limits.diskMb);
    const layers = this.images.layersOf(image);
    const files = etcFiles(HOSTNAME, wanted === 'internet' ? network.resolvers : []);
    await prepareUpper(join(own, 'upper'), layers[0] ?? '', { workdir: image.workdir, files, log: this.#deps.log });
    await mkdir(root);
    await mountRoot(root, layers, join(own, 'upper'), join(own, 'work'));
    // The overlay mounted on it keeps the file system busy.
    await disks.release(id);
  }

  async #start(id: string, dir: string): Promise<number> {
    await this.#deps.cli.off.run(id, dir, join(dir, 'pid'), { logPath: join(dir, 'log') });
    return Number(await readFile(join(dir, 'pid'), 'utf8'));
  }

  /** gVisor takes over the interfaces and addresses that exist in its network namespace when the container starts. */
  async #startOnline(id: string, dir: string): Promise<number> {
    const { cli, network } = this.#deps;
    const log = { logPath: join(dir, 'log') };
    await cli.internet.create(id, dir, join(dir, 'pid'), log);
    const pid = Number(await readFile(join(dir, 'pid'), 'utf8'));
    await network.setUp(await network.connect(id, dir, pid), pid);
    // gVisor only creates a loopback itself if it finds no interface at all.
    await runInNetworkOf(pid, ['ip', 'link', 'set', 'lo', 'up']);
    await cli.internet.start(id, log);
    return pid;
  }

  async #end(id: string): Promise<void> {
    const { boxes, tree, cli, group, disks, network } = this.#deps;
    const box = this.#unread.get(id);
    this.#unread.ends(id);
    const known = boxes.ids().includes(id);
    const cgroup = box?.cgroup ?? `${group}/${id}`;
    this.#exits.forget(id);
    await endProcesses(tree, cgroup, box);
    if (known) {
      await cli.off.forget(id);
      await unmountBelow(boxes.dirOf(id));
    }
    await network.disconnect(id);
    await disks.release(id);
    await endGroup(tree, cgroup);
    if (typeof box?.imageId === 'string' && !this.#unread.has(id)) this.images.release(box.imageId);
    if (box !== undefined) box.imageId = null;
    await this.#unread.delete(id);
    await boxes.remove(id);
  }

  async #gone(id: string): Promise<void> {
    const kills = await this.oomKills(id).catch((error: unknown) => {
      this.#deps.log.error({ err: error, container: id }, 'cannot determine whether it was OOM-killed');
      return null;
    });
    this.#listeners.tell(id, kills === null ? null : kills > 0);
  }
}
