/** The compose file, run by Docker Compose, with images, a directory and secrets for the test. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { allowedEnvironment } from '../helpers/config.ts';
import { freePort } from '../helpers/ports.ts';
import { command, composePrivileges, docker, logsOf, type Images } from './engine.ts';
import type { NodeDir } from './node-dir.ts';
import { Registry } from './registry.ts';
import { ROOT, run } from './tools.ts';

const UP_MS = 180_000;
const FILE = path.join(ROOT, 'deploy/compose.yaml');

type Compose = readonly [program: string, ...first: string[]];

/** The engine's plugin, or what the set-up has built. */
const COMPOSES: readonly Compose[] = [['docker', 'compose'], ['docker-compose']];

/** Docker Compose in a version that supports the file's format; undefined if there is none. */
export async function findCompose(): Promise<Compose | undefined> {
  for (const compose of COMPOSES) {
    const [program, ...first] = compose;
    const version = await run(program, [...first, 'version', '--short']).catch(() => null);
    if (version?.status === 0 && Number.parseInt(version.stdout.replace(/^v/, ''), 10) >= 2) return compose;
  }
  return undefined;
}

export class ComposeStack implements AsyncDisposable {
  readonly #compose: Compose;
  readonly #project: string;
  readonly #override: string;
  readonly #env: Record<string, string>;
  readonly #secrets: string;
  readonly #images: Images;
  #registry: Registry | null = null;

  private constructor(compose: Compose, images: Images, node: NodeDir, port: number) {
    this.#compose = compose;
    this.#project = `${images.tag}-compose`;
    this.#secrets = path.join(node.dir, 'secrets');
    this.#env = {
      ...allowedEnvironment(),
      MILLIBOX_DATA: node.data,
      MILLIBOX_SECRETS: this.#secrets,
      MILLIBOX_PORT: String(port),
      MILLIBOX_RESOLVERS: '127.0.0.1',
    };
    this.#override = path.join(node.dir, 'override.json');
    this.#images = images;
    this.#write();
  }

  static async open(images: Images, node: NodeDir): Promise<ComposeStack> {
    const compose = await findCompose();
    if (compose === undefined) throw new Error('there is no Docker Compose');
    const stack = new ComposeStack(compose, images, node, await freePort());
    try {
      await command('bash', [path.join(ROOT, 'deploy/systemd/secrets.sh'), stack.#secrets]);
      await stack.compose('create', '--no-build');
      stack.#registry = await Registry.start(images, `${stack.#project}_outside`, 'open');
      await stack.compose('up', '--no-build', '--detach');
      return stack;
    } catch (error) {
      await stack[Symbol.asyncDispose]();
      throw error;
    }
  }

  get url(): string {
    return `http://127.0.0.1:${this.#env['MILLIBOX_PORT']}`;
  }

  get key(): string {
    return readFileSync(path.join(this.#secrets, 'admin-key'), 'utf8').trim();
  }

  /** Everything that must not appear in a log. */
  get secrets(): string[] {
    return ['node-secret', 'admin-key', 'api-keys'].map((name) =>
      readFileSync(path.join(this.#secrets, name), 'utf8').trim(),
    );
  }

  container(service: string): string {
    return `${this.#project}-${service}-1`;
  }

  logs(service: string): Promise<string> {
    return logsOf(this.container(service));
  }

  inspect(service: string, format: string): Promise<string> {
    return docker('inspect', '--format', format, this.container(service));
  }

  /** For agents started from now on. */
  destroyAtStop(): void {
    this.#write({ MILLIBOX_ON_STOP: 'destroy' });
  }

  async compose(...args: string[]): Promise<string> {
    const files = ['--project-name', this.#project, '--file', FILE, '--file', this.#override];
    const [program, ...first] = this.#compose;
    const { status, stdout, stderr } = await run(program, [...first, ...files, ...args], {
      env: this.#env,
      timeout: UP_MS,
    });
    if (status !== 0) throw new Error(`${this.#compose.join(' ')} ${args[0] ?? ''}: ${stderr.slice(-2_000)}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry?.[Symbol.asyncDispose]().catch(() => undefined);
    await this.compose('down', '--volumes', '--timeout', '60').catch(() => undefined);
  }

  /** The test's own settings, on top of the file. */
  #write(environment: Record<string, string> = {}): void {
    const registry = { MILLIBOX_DEFAULT_IMAGE: Registry.image, MILLIBOX_INSECURE_REGISTRIES: Registry.host };
    const image = (name: Parameters<Images['name']>[0]): object => ({ image: this.#images.name(name) });
    const services = {
      gateway: image('gateway'),
      agent: { ...image('agent'), ...composePrivileges(), environment: { ...registry, ...environment } },
      redis: image('services'),
    };
    writeFileSync(this.#override, JSON.stringify({ services }));
  }
}
