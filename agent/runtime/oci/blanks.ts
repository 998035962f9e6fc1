/** Who makes blanks. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { LaunchOptions } from '../runtime.ts';
import type { Box, Boxes } from './boxes.ts';
import { identify } from './pids.ts';
import type { RuntimeCli } from './runtime-cli.ts';
import { blankSpec, INSIDE } from './spec.ts';
import type { Place } from './place.ts';

export interface BlankMaker {
  /** Starts a container in the box that `options.id` names, whose directory is there. @throws ServiceError. */
  make(options: LaunchOptions): Promise<Box>;
}

/** One run of the OCI runtime for each blank: needs nothing but the runtime, and takes tens of milliseconds of a cpu. */
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
    const { id, token, socketDir, signal } = options;
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
    // The token is in it.
    await writeFile(join(dir, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
    const pidFile = join(dir, 'pid');
    await this.#cli.run(id, dir, pidFile, { logPath: join(dir, 'log'), signal });
    const process = identify(Number(await readFile(pidFile, 'utf8')));
    if (process === undefined) throw new ServiceError('internal', `${INSIDE.boxinit} ended at its start`);
    return this.#boxes.started(id, process, { cgroup, by: 'runtime' });
  }
}
