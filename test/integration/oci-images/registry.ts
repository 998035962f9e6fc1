/** A test registry on the loopback, behind a proxy that counts, holds and refuses requests. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../helpers/ports.ts';
import { until } from '../../helpers/until.ts';
import { writeLayout, type LayoutOptions } from './layout.ts';

const run = promisify(execFile);
const START_MS = 60_000;
const PUSH_MS = 120_000;

export const USER = 'tester';
export const PASSWORD = 'secret-of-a-test';
/** bcrypt of the password, the only format that the registry supports. */
const HTPASSWD = `${USER}:$2y$05$abcdefghijklmnopqrstuuWF5xLxbFEYcgKzhJRr.Tnen4mSayl0C\n`;

export class Registry {
  readonly home: string;
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #withPassword: boolean;

  private constructor(home: string, port: number, process: ChildProcess, withPassword: boolean) {
    this.home = home;
    this.port = port;
    this.#process = process;
    this.#withPassword = withPassword;
  }

  static async start({ withPassword = false } = {}): Promise<Registry> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await Registry.#start(withPassword);
      } catch (error) {
        // Another process may have taken the port.
        if (tries === 5) throw error;
      }
    }
  }

  static async #start(withPassword: boolean): Promise<Registry> {
    const home = mkdtempSync(join(tmpdir(), 'mbx-registry-'));
    const port = await freePort();
    writeFileSync(join(home, 'htpasswd'), HTPASSWD);
    const config = {
      version: '0.1',
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(home, 'data') } },
      http: { addr: `127.0.0.1:${port}` },
      ...(withPassword ? { auth: { htpasswd: { realm: 'test', path: join(home, 'htpasswd') } } } : {}),
    };
    // JSON is valid YAML.
    writeFileSync(join(home, 'config.yml'), JSON.stringify(config));
    const child = spawn('docker-registry', ['serve', join(home, 'config.yml')], { stdio: 'ignore' });
    const registry = new Registry(home, port, child, withPassword);
    try {
      await until(() => answers(port, child), START_MS, 'the registry');
      return registry;
    } catch (error) {
      await registry.stop();
      throw error;
    }
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Pushes an image, and returns its id. As `v2s2` it is in Docker's own format, and its id on a node differs. */
  async push(name: string, options: LayoutOptions, format: 'oci' | 'v2s2' = 'oci'): Promise<string> {
    const layout = join(this.home, `layout-${crypto.randomUUID()}`);
    const id = writeLayout(layout, options);
    const login = this.#withPassword ? [`--dest-creds=${USER}:${PASSWORD}`] : [];
    const source = `oci:${layout}:image`;
    await run(
      'skopeo',
      [
        'copy',
        '--insecure-policy',
        '--dest-tls-verify=false',
        `--format=${format}`,
        ...login,
        source,
        `docker://${this.host}/${name}`,
      ],
      { timeout: PUSH_MS },
    );
    return id;
  }

  /** The digest by which a registry identifies a name's image. */
  async digestOf(name: string): Promise<string> {
    const answer = await fetch(`http://${this.host}/v2/${name.replace(':', '/manifests/')}`, {
      method: 'HEAD',
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    return answer.headers.get('docker-content-digest') ?? '';
  }

  /** A Docker `config.json` for this registry, or for another name. */
  authFile(password = PASSWORD, host = this.host): string {
    mkdirSync(join(this.home, 'auth'), { recursive: true });
    const path = join(this.home, 'auth', `${crypto.randomUUID()}.json`);
    const auth = Buffer.from(`${USER}:${password}`).toString('base64');
    writeFileSync(path, JSON.stringify({ auths: { [host]: { auth } } }), { mode: 0o600 });
    return path;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exit = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await exit;
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Forwards requests to a registry. */
export class Door {
  readonly #server: http.Server;
  readonly asked: string[] = [];
  #held: Promise<void> | undefined;

  private constructor(port: number) {
    const agent = new http.Agent({ keepAlive: false });
    this.#server = http.createServer((request, response) => {
      this.asked.push(`${request.method} ${request.url}`);
      const pass = async (): Promise<void> => {
        if (/\/blobs\//.test(request.url ?? '')) await this.#held;
        if (response.destroyed) return;
        const { method, url, headers } = request;
        const onward = http.request({ host: '127.0.0.1', port, method, path: url, headers, agent }, (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        });
        onward.on('error', () => response.destroy());
        request.pipe(onward);
      };
      pass().catch(() => response.destroy());
    });
  }

  static async open(registry: Registry): Promise<Door> {
    const door = new Door(registry.port);
    door.#server.listen(0, '127.0.0.1');
    await once(door.#server, 'listening');
    return door;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Holds all blobs from now on, until the returned function is called. */
  hold(): () => void {
    const gate = Promise.withResolvers<void>();
    this.#held = gate.promise;
    return () => {
      this.#held = undefined;
      gate.resolve();
    };
  }

  manifestsAsked(): number {
    return this.asked.filter((each) => /^GET .*\/manifests\//.test(each)).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

async function answers(port: number, child: ChildProcess): Promise<boolean> {
  if (child.exitCode !== null) throw new Error(`the registry ended with ${child.exitCode}`);
  return [200, 401].includes((await fetch(`http://127.0.0.1:${port}/v2/`)).status);
}
