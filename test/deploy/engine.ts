/** The Docker engine for image tests: builds them, and determines what this machine lets a container have. */
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { find, ROOT, run } from './tools.ts';

const BUILD_MS = 1_500_000;
/** Built by the set-up. */
export const BASE = 'millibox/debian:bookworm';
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** In the kernel's order. */
const CAPABILITIES = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ'
).split(' ');
const OPEN = ['seccomp=unconfined', 'apparmor=unconfined', 'systempaths=unconfined'];
const DEVICES = 'a *:* rwm';

/** @throws Error with the output of a failed command. */
export async function command(name: string, args: readonly string[], timeout?: number): Promise<string> {
  const { status, stdout, stderr } = await run(name, args, timeout === undefined ? {} : { timeout });
  if (status !== 0) throw new Error(`${name} ${args[0] ?? ''}: ${stderr.slice(-2_000)}${stdout.slice(-2_000)}`);
  return stdout.trim();
}
export const docker = (...args: string[]): Promise<string> => command('docker', args);

/** A container's output, both channels. */
export async function logsOf(container: string): Promise<string> {
  const { stdout, stderr } = await run('docker', ['logs', container]);
  return stdout + stderr;
}

/** Capabilities that this machine lets a container have; null: all. */
function held(): string[] | null {
  const bounds = BigInt(`0x${/^CapBnd:\s+(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  const all = CAPABILITIES.filter((_, bit) => ((bounds >> BigInt(bit)) & 1n) === 1n);
  return all.length === CAPABILITIES.length ? null : all;
}

/** `--privileged`, or as much of it as is available. */
export function privileges(): string[] {
  const capabilities = held();
  if (capabilities === null) return ['--privileged'];
  const options = OPEN.flatMap((option) => ['--security-opt', option]);
  return [...capabilities.flatMap((each) => ['--cap-add', each]), ...options, '--device-cgroup-rule', DEVICES];
}

/** The same for a compose service. */
export function composePrivileges(): object {
  const capabilities = held();
  if (capabilities === null) return { privileged: true };
  return { privileged: false, cap_add: capabilities, security_opt: OPEN, device_cgroup_rules: [DEVICES] };
}

export const REGISTRY_USER = { name: 'puller', password: 'password-of-a-test' };

/** An image with a public registry, one that needs a user, and Redis. */
const SERVICES = `FROM ${BASE}
RUN apt-get update \\
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server docker-registry \\
  && rm -rf /var/lib/apt/lists/*
RUN printf 'version: 0.1\\nstorage: { filesystem: { rootdirectory: /registry } }\\nhttp: { addr: ":5000" }\\n' >/open.yml \\
  && (cat /open.yml; printf 'auth: { htpasswd: { realm: test, path: /users } }\\n') >/guarded.yml
RUN python3 -W ignore -c 'import crypt; print("${REGISTRY_USER.name}:" + crypt.crypt("${REGISTRY_USER.password}", crypt.mksalt(crypt.METHOD_BLOWFISH)))' >/users
`;

/** Stages of the Dockerfile; the intermediate ones are tagged too, so that they can be removed. */
const TARGETS = ['build', 'boxinit', 'gateway', 'agent'] as const;
type Name = (typeof TARGETS)[number] | 'node' | 'services';

/** The Dockerfile's images, and one with services. No registry is contacted, only package mirrors. */
export class Images implements AsyncDisposable {
  readonly #dir = mkdtempSync(path.join(tmpdir(), 'mb-images-'));
  readonly tag = path.basename(this.#dir).toLowerCase();

  static async build(): Promise<Images> {
    const images = new Images();
    try {
      await images.#node();
      await images.#services();
      for (const target of TARGETS) await images.#program(target);
      return images;
    } catch (error) {
      await images[Symbol.asyncDispose]();
      throw error;
    }
  }

  name(part: Name): string {
    return `${this.tag}/${part}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [...TARGETS, 'node', 'services'] as const) {
      await docker('rmi', this.name(part)).catch(() => undefined);
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #program(target: (typeof TARGETS)[number]): Promise<void> {
    const bases = ['--build-arg', `NODE_IMAGE=${this.name('node')}`, '--build-arg', `BASE_IMAGE=${BASE}`];
    const file = path.join(ROOT, 'deploy/docker/Dockerfile');
    await this.#make(target, ROOT, [...bases, '--file', file, '--target', target]);
  }

  async #services(): Promise<void> {
    const context = path.join(this.#dir, 'services');
    mkdirSync(context);
    writeFileSync(path.join(context, 'Dockerfile'), SERVICES);
    await this.#make('services', context);
  }

  /** The set-up's base image with this machine's Node.js, npm and certificates. */
  async #node(): Promise<void> {
    const context = path.join(this.#dir, 'node');
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
    await this.#make('node', context);
  }

  /** Anything that a failing step has created is removed with it. */
  async #make(name: Name, context: string, options: readonly string[] = []): Promise<void> {
    const args = ['build', '--force-rm', '--network', 'host', ...options, '--tag', this.name(name), context];
    await command('docker', args, BUILD_MS);
  }
}
