/** An image registry in a container, with the base image in it. */
import { BASE, command, docker, REGISTRY_USER, type Images } from './engine.ts';
import { until } from '../helpers/until.ts';

const START_MS = 60_000;
const PUSH_MS = 300_000;
const HOST = 'registry:5000';

export class Registry implements AsyncDisposable {
  /** Its name in its network, where it is used without TLS. */
  static readonly host = HOST;
  static readonly image = `${HOST}/base:1`;
  /** Credentials for it when it needs them: a `config.json` as written by Docker. */
  static readonly credentials = JSON.stringify({
    auths: { [HOST]: { auth: Buffer.from(`${REGISTRY_USER.name}:${REGISTRY_USER.password}`).toString('base64') } },
  });
  readonly #name: string;

  private constructor(name: string) {
    this.#name = name;
  }

  static async start(images: Images, network: string, access: 'open' | 'guarded'): Promise<Registry> {
    const registry = new Registry(`${network}-registry`);
    const where = ['--network', network, '--network-alias', HOST.split(':')[0] ?? ''];
    const run = ['run', '--detach', '--name', registry.#name, ...where, images.name('services')];
    await docker(...run, 'docker-registry', 'serve', `/${access}.yml`);
    await registry.#push(access);
    return registry;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await docker('rm', '--force', '--volumes', this.#name);
  }

  async #push(access: 'open' | 'guarded'): Promise<void> {
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const host = `${await docker('inspect', '--format', format, this.#name)}:5000`;
    await until(async () => (await fetch(`http://${host}/v2/`)).status < 500, START_MS, 'the registry');
    const { name, password } = REGISTRY_USER;
    const credentials = access === 'guarded' ? ['--dest-creds', `${name}:${password}`] : [];
    const to = [...credentials, '--dest-tls-verify=false', `docker-daemon:${BASE}`, `docker://${host}/base:1`];
    await command('skopeo', ['copy', '--quiet', ...to], PUSH_MS);
  }
}
