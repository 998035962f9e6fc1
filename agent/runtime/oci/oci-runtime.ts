/** The runtime `oci`: blanks, without a daemon, that take any image on the node in milliseconds (docs/adr/0006). */
import { join } from 'node:path';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { SupervisorClaim } from '../../../src/protocol/supervisor.ts';
import type { ImageStore } from '../../images/image-store.ts';
import type { Supervisor } from '../../supervisor/supervisor.ts';
import { ExitListeners, type ExitListener } from '../exit-listeners.ts';
import type { ClaimOptions, Container, ContainerRuntime, LaunchOptions, Limits } from '../runtime.ts';
import type { BlankMaker } from './blanks.ts';
import { possibleGroups, removeAgentGroups } from './box-groups.ts';
import type { Box, Boxes } from './boxes.ts';
import { readOomKills, writeLimits } from './cgroup-limits.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { ClaimTimeout } from './claim-timeout.ts';
import type { Disks } from './disk.ts';
import { endGroup, endProcesses } from './ending.ts';
import { etcFiles } from './etc-files.ts';
import { ExitPoller } from './exit-poller.ts';
import type { Network } from './network/network.ts';
import { isAlive, killProcess } from './pids.ts';
import type { StaleCgroups } from './stale-cgroups.ts';
import type { Place } from './place.ts';
import type { RuntimeCli } from './runtime-cli.ts';
import { InFlight } from './in-flight.ts';
import { OomWatch } from './oom-watch.ts';
import { UnreadableBoxes } from './unreadable-boxes.ts';

interface OciDeps {
  place: Place;
  boxes: Boxes;
  blanks: BlankMaker;
  tree: CgroupTree;
  cli: RuntimeCli;
  images: ImageStore;
  disks: Disks;
  network: Network;
  staleCgroups: StaleCgroups;
  log: Logger;
}

export class OciRuntime implements ContainerRuntime {
  readonly name = 'oci';
  readonly imageAgnostic = true;
  readonly images: ImageStore;
  readonly maxDiskMb: number;
  readonly #deps: OciDeps;
  readonly #exits: ExitPoller;
  readonly #listeners: ExitListeners;
  readonly #launching = new InFlight();
  readonly #claiming = new InFlight();
  readonly #claimTimeout = new ClaimTimeout();
  readonly #unread: UnreadableBoxes;
  readonly #ooms: OomWatch;

  constructor(deps: OciDeps) {
    this.#deps = deps;
    this.#listeners = new ExitListeners(deps.log);
    this.images = deps.images;
    this.maxDiskMb = deps.disks.maxMb;
    this.#exits = new ExitPoller((id) => void this.#gone(id));
    this.#ooms = new OomWatch((id) => this.#readOomKills(id), deps.log);
    const { boxes, images, tree, place } = deps;
    const groupsOf = (id: string): string[] => possibleGroups(tree, place, id);
    this.#unread = new UnreadableBoxes({ boxes, images, tree, groupsOf, adopt: (id, box) => this.#adopt(id, box) });
    for (const id of boxes.ids()) {
      if (!boxes.wasStarted(id)) continue;
      deps.network.adopt(id, boxes.dirOf(id));
      this.#unread.found(id);
    }
  }

  #adopt(id: string, box: Box): void {
    if (box.imageId !== null) this.images.hold(box.imageId);
    if (!isAlive(box)) return;
    this.#exits.watch(id, box);
    this.#ooms.watch(id);
  }

  canClaim(): boolean {
    return true;
  }

  async launch(options: LaunchOptions): Promise<Container> {
    const launch = this.#launch(options).catch(async (error: unknown) => {
      await this.#end(options.id);
      throw error;
    });
    return await this.#launching.run(options.id, launch);
  }

  async #launch(options: LaunchOptions): Promise<Container> {
    const { boxes, blanks } = this.#deps;
    await boxes.make(options.id);
    const box = await blanks.make(options);
    this.#holdTo(box, options.limits);
    options.signal?.throwIfAborted();
    this.#exits.watch(options.id, box);
    this.#ooms.watch(options.id, 0);
    return { id: options.id, imageId: null };
  }

  async claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void> {
    await this.#claiming.run(container.id, this.#claim(container, supervisor, options));
  }

  async #claim(container: Container, supervisor: Supervisor, options: ClaimOptions): Promise<void> {
    const { boxes, place, network, disks } = this.#deps;
    const { image, limits, signal } = options;
    const box = this.#unread.get(container.id);
    if (box === undefined) throw new ServiceError('node_unavailable', 'the container is gone');
    if (box.imageId !== null) throw new ServiceError('internal', 'the container has an image already');
    this.images.hold(image.id);
    boxes.claimed(box, image.id);
    this.#holdTo(box, limits);
    const online = options.network === 'internet';
    const [dir, card] = await bothOver(
      this.#ownDir(box.id, limits.diskMb),
      online ? network.connect(box.id, boxes.dirOf(box.id), box.pid) : undefined,
    );
    // An earlier version of boxinit cannot set up its interface itself.
    if (card !== undefined && supervisor.hello.cards !== true) await network.setUp(card, box.pid);
    const message: SupervisorClaim = {
      op: 'claim',
      layers: this.images.layersOf(image).map((layer) => place.inside(layer)),
      upper: join(dir, 'upper'),
      work: join(dir, 'work'),
      hostname: options.sandbox,
      workdir: image.workdir === '/' ? '' : image.workdir,
      files: etcFiles(options.sandbox, online ? network.resolvers : []),
      ...(card !== undefined && supervisor.hello.cards === true ? { card } : {}),
    };
    try {
      await this.#claimTimeout.bound(signal, (bounded) =>
        supervisor.call(message, { signal: bounded, deadlineMs: Infinity }),
      );
    } catch (error) {
      // The caller now tries another blank. One that was merely stopped must not continue this claim alongside.
      killProcess(box);
      throw error;
    }
    if (limits.diskMb !== null) await disks.release(box.id);
  }

  /** Writes the limits that differ from those that blanks are made with; for most sandboxes, none or one. */
  #holdTo(box: Box, limits: Limits): void {
    const set = box.limits ?? undefined;
    // Should one fail, it is not known which were written.
    box.limits = null;
    writeLimits(this.#deps.tree, box.cgroup, limits, set);
    box.limits = limits;
  }

  /** The sandbox's own directory, as seen by the blank. */
  async #ownDir(id: string, diskMb: number | null): Promise<string> {
    const { boxes, disks, place } = this.#deps;
    const dir = boxes.dirOf(id);
    return place.inside(diskMb === null ? dir : await disks.mount(id, join(dir, 'disk.ext4'), diskMb));
  }

  async destroy(id: string): Promise<void> {
    // A container that is being started has a process that is not known yet.
    await this.#launching.over(id);
    await this.#end(id);
  }

  async #end(id: string): Promise<void> {
    const { boxes, tree, place } = this.#deps;
    const box = this.#unread.get(id);
    this.#unread.ends(id);
    const groups = box === undefined ? possibleGroups(tree, place, id) : [box.cgroup];
    this.#exits.forget(id);
    this.#ooms.forget(id);
    for (const group of groups) await endProcesses(tree, group, box);
    // A claim in progress fails now, but may have mounted a disk or created a veth pair.
    await this.#claiming.over(id);
    if (box?.by !== 'nursery') await this.#deps.cli.forget(id);
    for (const group of groups) await endGroup(tree, group);
    await this.#deps.network.disconnect(id);
    await this.#deps.disks.release(id);
    if (typeof box?.imageId === 'string' && !this.#unread.has(id)) this.images.release(box.imageId);
    if (box !== undefined) box.imageId = null;
    await this.#unread.delete(id);
    await boxes.remove(id);
  }

  async list(): Promise<{ id: string; running: boolean; imageId: string | null }[]> {
    const { boxes } = this.#deps;
    await this.#unread.readAgain();
    return boxes.ids().map((id) => {
      return { id, running: this.#unread.lives(id), imageId: boxes.get(id)?.imageId ?? null };
    });
  }

  async oomKills(id: string): Promise<number> {
    return await this.#ooms.count(id);
  }

  async #readOomKills(id: string): Promise<number> {
    const { boxes, tree, place } = this.#deps;
    const box = boxes.get(id);
    // Which group is its own cannot be read then; the others do not exist, and count none.
    const groups = box === undefined ? possibleGroups(tree, place, id) : [box.cgroup];
    const kills = await Promise.all(groups.map((group) => readOomKills(tree, group)));
    return kills.reduce((sum, each) => sum + each, 0);
  }

  onExit(callback: ExitListener): () => void {
    return this.#listeners.add(callback);
  }

  async close(): Promise<void> {
    this.#exits.close();
    this.#ooms.close();
    this.#listeners.clear();
    const { boxes, blanks, network, disks } = this.#deps;
    // A claim in progress needs the network and the disks.
    await this.#claiming.allOver();
    await blanks.close();
    // Starts in progress fail now, and clean up.
    await this.#launching.allOver();
    await network.close();
    await disks.close(!boxes.ids().some((id) => this.#unread.lives(id)));
    await boxes.allRemoved();
    removeAgentGroups(this.#deps.tree, this.#deps.place.group);
    this.#deps.staleCgroups.close();
  }

  /** A container's process; for tests and operators. */
  processOf(id: string): Box | undefined {
    return this.#deps.boxes.get(id);
  }

  async #gone(id: string): Promise<void> {
    this.#listeners.tell(id, await this.#ooms.killedNearEnd(id));
  }
}

/**
 * Waits for both, even if one fails: a container must not be destroyed while the other continues.
 * @throws the first error, once both are over.
 */
async function bothOver<A, B>(a: Promise<A>, b: Promise<B> | undefined): Promise<[A, B | undefined]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}
