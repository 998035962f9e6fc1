/** A virtual machine of `deploy/setup.sh vm`, on an emulated processor, that runs scripts. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { find, ROOT } from '../../deploy/tools.ts';
import { setupHome } from '../../helpers/config.ts';
import { until } from '../../helpers/until.ts';

const BOOT_MS = 300_000;
const EMULATOR = 'qemu-system-x86_64';

const dir = (): string => join(setupHome(), 'vm');

/** What is missing to start one; empty if nothing. */
export function missingForMachine(): string[] {
  const files = ['kernel', 'initrd', 'disk.img'].map((name) => join(dir(), name)).filter((file) => !existsSync(file));
  return find(EMULATOR) === undefined ? [EMULATOR, ...files] : files;
}

export interface ScriptEnd {
  status: number;
  /** Its output on both channels. */
  output: string;
}

export class Machine implements AsyncDisposable {
  readonly #work: string;
  readonly #emulator: ChildProcess;
  #scripts = 0;

  private constructor(work: string) {
    this.#work = work;
    const lend = (tag: string, path: string, more = ''): string[] => [
      '-virtfs',
      `local,path=${path},mount_tag=${tag},id=${tag},security_model=none,multidevs=remap${more}`,
    ];
    mkdirSync(join(work, 'scripts'));
    this.#emulator = spawn(
      EMULATOR,
      [
        ...['-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off', '-smp', '2', '-m', '3072'],
        // No network interface: nothing in it can reach anything.
        ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot', '-serial', `file:${join(work, 'console')}`],
        ...['-kernel', join(dir(), 'kernel'), '-initrd', join(dir(), 'initrd')],
        ...['-append', 'root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on'],
        // Writes to the disk are lost with the machine.
        ...['-drive', `file=${join(dir(), 'disk.img')},format=raw,if=virtio,cache=unsafe,snapshot=on`],
        ...['-device', 'virtio-rng-pci'],
        ...lend('scripts', join(work, 'scripts')),
        ...lend('repository', ROOT, ',readonly=on'),
        ...lend('images', join(setupHome(), 'base'), ',readonly=on'),
      ],
      { stdio: 'ignore' },
    );
    this.#emulator.on('error', () => undefined);
  }

  /** @throws Error with the end of its output if it does not come up. */
  static async start(): Promise<Machine> {
    const machine = new Machine(mkdtempSync(join(tmpdir(), 'mbx-vm-')));
    try {
      await machine.#until('ready', BOOT_MS, 'the virtual machine');
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a bash script as root. @throws Error with its output if it does not end in time. */
  async run(script: string, limitMs: number): Promise<ScriptEnd> {
    this.#scripts += 1;
    const name = join(this.#work, 'scripts', String(this.#scripts));
    writeFileSync(`${name}.new`, script);
    renameSync(`${name}.new`, `${name}.sh`);
    await this.#until(`${this.#scripts}.status`, limitMs, 'a script');
    return { status: Number(readFileSync(`${name}.status`, 'utf8')), output: readFileSync(`${name}.out`, 'utf8') };
  }

  async #until(file: string, limitMs: number, what: string): Promise<void> {
    const path = join(this.#work, 'scripts', file);
    const over = (): boolean => this.#emulator.exitCode !== null || this.#emulator.signalCode !== null;
    try {
      await until(() => existsSync(path) || over(), limitMs, what);
      if (!existsSync(path)) throw new Error(`the virtual machine ended while it was waited for ${what}`);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.#told()}`, { cause: error });
    }
  }

  #told(): string {
    return [join(this.#work, 'console'), join(this.#work, 'scripts', `${this.#scripts}.out`)]
      .filter((file) => existsSync(file))
      .map((file) => readFileSync(file, 'utf8').slice(-4_000))
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#emulator.kill('SIGKILL');
    await until(() => this.#emulator.exitCode !== null || this.#emulator.signalCode !== null, 30_000, 'its end');
    rmSync(this.#work, { recursive: true, force: true });
  }
}
