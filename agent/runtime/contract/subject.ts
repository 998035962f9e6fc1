/** What a runtime provides to the contract suite, and how a test makes a container with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { silent } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { ExecExit } from '../../../src/protocol/exec.ts';
import { Channel } from '../../../src/protocol/frames.ts';
import type { Json } from '../../../src/mux/index.ts';
import { ContainerHomes } from '../../pool/container-homes.ts';
import { Launcher, type Launched } from '../../pool/launcher.ts';
import type { SupervisorLink } from '../../supervisor/supervisor-link.ts';
import type { ClaimOptions, ContainerRuntime, Image, Limits } from '../runtime.ts';

/** How system calls are filtered; what /proc/1 shows; what the kernel ends when memory runs out. */
export type Otherwise = 'filters' | 'process 1' | 'memory';

export interface ContractSubject {
  name: string;
  /** A runtime whose containers are identified by this directory. A second one finds those of the first. */
  open(dataDir: string): Promise<ContainerRuntime>;
  /** An image on this machine that contains at least a static busybox. */
  image: string;
  /** References whose pull fails with this code. Empty where no registry can be reached. */
  failing: readonly { ref: string; code: string }[];
  /** Whether there are processes, cgroups and namespaces to inspect. */
  linux: boolean;
  /** Where programs see something other than on plain Linux; the runtime's own tests cover it. */
  otherwise?: readonly Otherwise[];
  /** Kills the container from outside, as the kernel or an operator would. */
  kill(runtime: ContainerRuntime, id: string): Promise<void>;
}

export const LIMITS: Limits = { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 };

/** A runtime with a launcher; disposing it removes all its containers. */
export class Bench implements AsyncDisposable {
  readonly dataDir: string;
  readonly runtime: ContainerRuntime;
  readonly launcher: Launcher;
  readonly image: Image;
  readonly #launched: Launched[] = [];

  private constructor(dataDir: string, runtime: ContainerRuntime, image: Image) {
    this.dataDir = dataDir;
    this.runtime = runtime;
    this.launcher = new Launcher(runtime, new ContainerHomes(dataDir), silent);
    this.image = image;
  }

  static async open(subject: ContractSubject): Promise<Bench> {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
    const runtime = await subject.open(dataDir);
    return new Bench(dataDir, runtime, await runtime.images.ensure(subject.image, {}));
  }

  async launch(changes: Partial<Pick<ClaimOptions, 'image' | 'limits' | 'network'>> = {}): Promise<Launched> {
    const { limits = LIMITS, network = 'off' } = changes;
    const image = this.runtime.imageAgnostic ? undefined : (changes.image ?? this.image);
    const spec = { poolKey: 'contract', image, limits, network };
    const launched = await this.launcher.launch(spec, new AbortController().signal);
    this.#launched.push(launched);
    return launched;
  }

  /** A container ready for programs: as pools do, one launched with the defaults if it can be claimed this way. */
  async claimed(changes: Partial<ClaimOptions> = {}): Promise<Launched> {
    const waiting = this.runtime.canClaim({ limits: LIMITS, network: 'off' }, this.#wanted(changes));
    const { image = this.image } = changes;
    const launched = await this.launch(waiting ? { image } : changes);
    await this.claim(launched, changes);
    return launched;
  }

  async claim(launched: Launched, changes: Partial<ClaimOptions> = {}): Promise<void> {
    await this.runtime.claim(launched.container, launched.link, this.#wanted(changes));
  }

  #wanted(changes: Partial<ClaimOptions>): ClaimOptions {
    return { sandbox: 'sbx-contract', image: this.image, limits: LIMITS, network: 'off', ...changes };
  }

  async exists(id: string): Promise<boolean> {
    return (await this.runtime.list()).some((container) => container.id === id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#launched.map(({ container, link }) => this.launcher.discard(container.id, link)));
    await this.runtime.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

interface Ran {
  stdout: string;
  stderr: string;
  exit: ExecExit;
}

let nextId = 0;

/** Runs a program in a container. @throws ServiceError as refused by boxinit. */
export function run(link: SupervisorLink, argv: string[], more: Json = {}): Promise<Ran> {
  const { promise, resolve, reject } = Promise.withResolvers<Ran>();
  const output = { stdout: '', stderr: '' };
  let exit: ExecExit | undefined;
  nextId += 1;
  const request = {
    op: 'exec',
    id: `exe-contract-${nextId}`,
    argv,
    env: {},
    cwd: '/',
    stdin: false,
    killGraceMs: 1_000,
    ringBytes: 65_536,
    detachedMs: 60_000,
    ...more,
  };
  const stream = link.open(request, {
    data: (channel, bytes) => {
      output[channel === Channel.STDERR ? 'stderr' : 'stdout'] += Buffer.from(bytes).toString();
      stream.consume(bytes.length);
    },
    event: (message) => {
      if (message['type'] === 'exit') exit = ExecExit.parse(message);
    },
    fin: (channel) => {
      if (channel === Channel.ALL) stream.end();
    },
    closed: (error) => {
      if (exit === undefined) reject(error ?? new ServiceError('interrupted'));
      else resolve({ ...output, exit });
    },
  });
  return promise;
}
