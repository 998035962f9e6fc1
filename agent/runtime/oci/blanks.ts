/** Makers of blanks: the OCI runtime itself, or a nursery. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { LaunchOptions } from '../runtime.ts';
import type { Box, Boxes } from './boxes.ts';
import { makeGroupInside } from './cgroup-tree.ts';
import { ETC_FILES } from './etc-files.ts';
import { identify } from './pids.ts';
import { Nursery, type NurseryDeps } from './nursery.ts';
import type { RuntimeCli } from './runtime-cli.ts';
import { blankSpec, INSIDE } from './spec.ts';
import type { Place } from './place.ts';

const FIRST_REST_MS = 100;
const LONGEST_REST_MS = 60_000;

export interface BlankMaker {
  /**
   * Starts a container in the box `options.id`, whose directory exists. Ignores the signal: abandoning a start midway
   * would leave an unknown process.
   * @throws ServiceError.
   */
  make(options: LaunchOptions): Promise<Box>;
  /** Releases what is kept for making more. */
  close(): Promise<void>;
}

/** Runs the OCI runtime for each blank: has no other requirements, but takes tens of milliseconds of CPU. */
export class RuntimeBlanks implements BlankMaker {
  readonly #cli: RuntimeCli;
  readonly #place: Place;
  readonly #boxes: Boxes;

  constructor(cli: RuntimeCli, place: Place, boxes: Boxes) {
    this.#cli = cli;
    this.#place = place;
    this.#boxes = boxes;
  }

  async make(options: LaunchOptions): Promise<Box> {
    const { id, token, socketDir } = options;
    const dir = this.#boxes.dirOf(id);
    const cgroup = this.#place.boxGroup(id);
    const spec = blankSpec({
      ...this.#place,
      cgroupPath: `/${cgroup}`,
      env: {
        MILLIBOX_BLANK: '1',
        MILLIBOX_TOKEN: token,
        MILLIBOX_SOCKET: this.#place.inside(join(socketDir, 'agent.sock')),
      },
    });
    // Mode 0600: it contains the token.
    await writeFile(join(dir, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
    const pidFile = join(dir, 'pid');
    await this.#cli.run(id, dir, pidFile, { logPath: join(dir, 'log') });
    const process = identify(Number(await readFile(pidFile, 'utf8')));
    if (process === undefined) throw new ServiceError('internal', `${INSIDE.boxinit} ended at its start`);
    return this.#boxes.started(id, process, { cgroup, by: 'runtime' });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Clones a prepared container, in a few milliseconds each. The runtime does its work once for all. */
export class NurseryBlanks implements BlankMaker {
  readonly #deps: NurseryDeps;
  readonly #boxes: Boxes;
  readonly #fallback: BlankMaker;
  #nursery: Promise<Nursery> | undefined;
  #restAfterMs = FIRST_REST_MS;
  #quietUntilMs = 0;
  #closed = false;

  /** `fallback` makes blanks while there is no nursery. */
  constructor(deps: NurseryDeps, boxes: Boxes, fallback: BlankMaker) {
    this.#deps = deps;
    this.#boxes = boxes;
    this.#fallback = fallback;
  }

  async make(options: LaunchOptions): Promise<Box> {
    const nursery = await this.#ready();
    if (nursery === undefined) return await this.#fallback.make(options);
    const { place, tree } = this.#deps;
    const { id, token, socketDir } = options;
    const cgroup = `${nursery.group}/${id}`;
    // Created here, not by the blank: an abandoned blank finds its group removed and cannot enter one.
    await makeGroupInside(tree, cgroup);
    const process = identify(
      await nursery.fork(id, {
        socket: place.inside(join(socketDir, 'agent.sock')),
        token,
        upper: place.inside(join(this.#boxes.dirOf(id), 'upper')),
        files: ETC_FILES,
      }),
    );
    if (process === undefined) throw new ServiceError('internal', 'a blank ended at its start');
    this.#restAfterMs = FIRST_REST_MS;
    return this.#boxes.started(id, process, { cgroup, by: 'nursery' });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await (await this.#nursery?.catch(() => undefined))?.close();
  }

  async #ready(): Promise<Nursery | undefined> {
    if (this.#closed) throw new ServiceError('draining');
    const now = performance.now();
    if (this.#nursery === undefined && now >= this.#quietUntilMs) this.#nursery = Nursery.start(this.#deps);
    const starting = this.#nursery;
    try {
      const nursery = await starting;
      if (nursery?.over !== true) return nursery;
      this.#deps.log.warn({}, 'the nursery ended: starting another');
    } catch (error) {
      this.#deps.log.error({ err: error }, 'the nursery does not start: the runtime starts each blank');
    }
    if (this.#nursery === starting) {
      this.#nursery = undefined;
      this.#quietUntilMs = performance.now() + this.#restAfterMs;
      this.#restAfterMs = Math.min(LONGEST_REST_MS, this.#restAfterMs * 2);
    }
    return undefined;
  }
}
