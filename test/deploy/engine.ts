/** Images built from the Dockerfile and containers of them, with everything that they take, taken back at the end. */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { agentGroup } from '../../agent/runtime/oci/place.ts';
import { setupHome } from '../helpers/config.ts';
import { find, ROOT, run } from './tools.ts';

const BUILD_MS = 1_500_000;
const BASE = 'millibox/debian:bookworm';
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** In the kernel's order. */
const CAPABILITIES = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ'
).split(' ');

/** @throws Error with the words of a command that failed. */
export async function command(name: string, args: readonly string[], timeout?: number): Promise<string> {
  const { status, stdout, stderr } = await run(name, args, timeout === undefined ? {} : { timeout });
  if (status !== 0) throw new Error(`${name} ${args[0] ?? ''}: ${stderr.slice(-2_000)}${stdout.slice(-2_000)}`);
  return stdout.trim();
}
export const docker = (...args: string[]): Promise<string> => command('docker', args);

/** All that the machine lets a container have; `--privileged` where that is everything. */
function privileges(): string[] {
  const bounds = BigInt(`0x${/^CapBnd:\s+(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  const held = CAPABILITIES.filter((_, bit) => ((bounds >> BigInt(bit)) & 1n) === 1n);
  if (held.length === CAPABILITIES.length) return ['--privileged'];
  const open = ['seccomp=unconfined', 'apparmor=unconfined', 'systempaths=unconfined'];
  return [
    ...held.flatMap((capability) => ['--cap-add', capability]),
    ...open.flatMap((option) => ['--security-opt', option]),
    '--device-cgroup-rule',
    'a *:* rwm',
  ];
}

/** One node and one gateway, as the compose file has them. */
export class Containers implements AsyncDisposable {
  readonly dir = mkdtempSync(path.join(tmpdir(), 'mb-images-'));
  readonly #tag = path.basename(this.dir).toLowerCase();
  readonly #data = path.join(this.dir, 'data');

  /** Builds both images and makes the node's directory a shared mount, as those of a machine with systemd are. */
  static async make(): Promise<Containers> {
    const made = new Containers();
    try {
      await made.#build();
      await made.#prepare();
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  get key(): string {
    return readFileSync(path.join(this.dir, 'secrets/admin-key'), 'utf8').trim();
  }

  /** @returns the address for clients. */
  async startGateway(): Promise<string> {
    const hardened = ['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
    await this.#run('gateway', [...hardened, '--publish', '127.0.0.1:0:8700', ...this.#secret('api-keys')], {
      MILLIBOX_NODES: 'local=ws://agent:8701',
      MILLIBOX_NODE_SECRET_FILE: '/run/secrets/node-secret',
      MILLIBOX_API_KEYS_FILE: '/run/secrets/api-keys',
      MILLIBOX_NODE_GRACE_MS: '300000',
    });
    return `http://${(await docker('port', this.name('gateway'), '8700')).split('\n')[0]}`;
  }

  async startAgent(onStop: 'keep' | 'destroy' = 'keep'): Promise<void> {
    const data = this.#data;
    const base = path.join(setupHome(), 'base');
    const binds = [`source=${data},target=${data},bind-propagation=rshared`, `source=${base},target=${base},readonly`];
    const host = ['/sys/fs/cgroup', '/dev'].map((each) => `source=${each},target=${each}`);
    const mounts = [...binds, ...host].flatMap((each) => ['--mount', `type=bind,${each}`]);
    const script = `millibox-prepare-node ${data} && exec node /opt/millibox/dist/agent/main.js`;
    const options = ['--pid', 'host', '--cgroupns', 'host', ...privileges(), ...mounts, '--entrypoint', 'sh'];
    const env = {
      MILLIBOX_NODE_NAME: 'local',
      MILLIBOX_NODE_SECRET_FILE: '/run/secrets/node-secret',
      MILLIBOX_DATA_DIR: `${data}/agent`,
      MILLIBOX_BOXINIT: `${data}/bin/boxinit`,
      MILLIBOX_RUNTIME: 'oci',
      MILLIBOX_ON_STOP: onStop,
      MILLIBOX_DEFAULT_IMAGE: BASE,
      MILLIBOX_BASE_IMAGE_FILE: `${base}/default-image`,
      MILLIBOX_RESOLVERS: '127.0.0.1',
    };
    await this.#run('agent', options, env, ['-c', script]);
  }

  async stop(part: 'gateway' | 'agent'): Promise<void> {
    await docker('stop', '--time', '60', this.name(part));
    await docker('rm', this.name(part));
  }

  name(part: 'gateway' | 'agent'): string {
    return `${this.#tag}-${part}`;
  }

  /** Mounts below the node's directory, and control groups of its agent. */
  left(): string[] {
    const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
    const group = agentGroup(`${this.#data}/agent`);
    const trees = ['/sys/fs/cgroup', ...readdirSync('/sys/fs/cgroup').map((name) => path.join('/sys/fs/cgroup', name))];
    const groups = trees.map((tree) => path.join(tree, group)).filter((each) => existsSync(each));
    return [...mounts.filter((line) => line.includes(`${this.#data}/`)), ...groups];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const quietly = (promise: Promise<unknown>): Promise<unknown> => promise.catch(() => undefined);
    for (const part of ['gateway', 'agent'] as const) await quietly(docker('rm', '--force', this.name(part)));
    await quietly(docker('network', 'rm', this.#tag));
    await quietly(command('umount', ['--recursive', this.#data]));
    for (const part of ['gateway', 'agent', 'node']) await quietly(docker('rmi', `${this.#tag}/${part}`));
    await command('rm', ['-rf', '--one-file-system', this.dir]);
  }

  #secret(name: string): string[] {
    return ['--mount', `type=bind,source=${this.dir}/secrets/${name},target=/run/secrets/${name},readonly`];
  }

  async #run(
    part: 'gateway' | 'agent',
    options: string[],
    env: Record<string, string>,
    args: string[] = [],
  ): Promise<void> {
    const network = ['--network', this.#tag, '--network-alias', part];
    const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const common = ['--detach', '--name', this.name(part), ...network, ...variables, ...this.#secret('node-secret')];
    await docker('run', ...common, ...options, `${this.#tag}/${part}`, ...args);
  }

  async #prepare(): Promise<void> {
    await command('bash', [path.join(ROOT, 'deploy/systemd/secrets.sh'), path.join(this.dir, 'secrets')]);
    mkdirSync(this.#data);
    await command('mount', ['--bind', this.#data, this.#data]);
    await command('mount', ['--make-private', this.#data]);
    await command('mount', ['--make-shared', this.#data]);
    await docker('network', 'create', this.#tag);
  }

  async #build(): Promise<void> {
    const node = path.join(this.dir, 'node');
    await this.#nodeImage(node);
    rmSync(node, { recursive: true });
    const file = path.join(ROOT, 'deploy/docker/Dockerfile');
    const images = ['--build-arg', `NODE_IMAGE=${this.#tag}/node`, '--build-arg', `BASE_IMAGE=${BASE}`];
    for (const target of ['gateway', 'agent']) {
      const args = ['build', '--network', 'host', ...images, '--file', file, '--target', target];
      await command('docker', [...args, '--tag', `${this.#tag}/${target}`, ROOT], BUILD_MS);
    }
  }

  /** No registry is asked: the base of the set-up with this machine's Node.js, npm and certificates. */
  async #nodeImage(context: string): Promise<void> {
    mkdirSync(context);
    copyFileSync(process.execPath, path.join(context, 'node'));
    const npm = path.dirname(path.dirname(realpathSync(find('npm') ?? 'npm')));
    cpSync(npm, path.join(context, 'npm'), { recursive: true, dereference: true });
    copyFileSync(CERTIFICATES, path.join(context, 'certificates'));
    const lines = [
      `FROM ${BASE}`,
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      `COPY certificates ${CERTIFICATES}`,
      `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`,
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
    ];
    writeFileSync(path.join(context, 'Dockerfile'), lines.join('\n'));
    await command('docker', ['build', '--tag', `${this.#tag}/node`, context], BUILD_MS);
  }
}
