/**
 * A real Kubernetes API server with its own etcd, on loopback ports, with disposable certificates and tokens. There is
 * no kubelet and no controller: tests do their work as an administrator.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { find } from '../../deploy/tools.ts';
import { allowedEnvironment } from '../../helpers/config.ts';
import { freePort } from '../../helpers/ports.ts';
import { until } from '../../helpers/until.ts';
import { makeCertificates } from './certificates.ts';

/** Programs that it needs, besides openssl. */
export const CONTROL_PLANE_PROGRAMS = ['kube-apiserver', 'etcd'] as const;

const START_MS = 120_000;
const ASK_MS = 30_000;
const TRIES = 3;

export interface Asking {
  body?: unknown;
  /** Who makes the request; default: an administrator. */
  token?: string;
  type?: string;
}

export interface Reply {
  status: number;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into objects of every kind
  json: any;
}

export class ControlPlane implements AsyncDisposable {
  /** Contains `ca.crt`. */
  readonly dir: string;
  #etcdPort = 0;
  #port = 0;
  #etcd: ChildProcess | null = null;
  #server: ChildProcess | null = null;
  #administrator: Agent;
  #nobody: Agent;

  private constructor(dir: string) {
    this.dir = dir;
    const read = (name: string): Buffer => readFileSync(join(dir, name));
    const ca = read('ca.crt');
    this.#administrator = new Agent({ connect: { ca, cert: read('client.crt'), key: read('client.key') } });
    this.#nobody = new Agent({ connect: { ca } });
  }

  /** @throws Error with the programs' latest output */
  static async start(): Promise<ControlPlane> {
    const dir = mkdtempSync(join(tmpdir(), 'kube-'));
    makeCertificates(dir, '/O=system:masters/CN=administrator');
    const plane = new ControlPlane(dir);
    try {
      for (let tries = 1; ; tries += 1) {
        const ended = await plane.#begin().then(
          () => null,
          (error: unknown) => error,
        );
        if (ended === null) return plane;
        await plane.#end();
        // Another process may have taken a port.
        if (tries === TRIES) throw new Error(`no control plane: ${String(ended)}\n${plane.#log()}`, { cause: ended });
      }
    } catch (error) {
      await plane[Symbol.asyncDispose]();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  /** Starts the API server on its previous port. Without its cache, each watch goes to etcd. */
  async up({ cache = true } = {}): Promise<void> {
    this.#server = this.#spawn('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${this.#port}`,
      '--tls-cert-file=server.crt',
      '--tls-private-key-file=server.key',
      '--client-ca-file=ca.crt',
      '--service-account-issuer=https://kubernetes.default.svc',
      '--service-account-key-file=server.crt',
      '--service-account-signing-key-file=server.key',
      '--service-cluster-ip-range=10.0.0.0/24',
      '--authorization-mode=RBAC',
      '--allow-privileged=true',
      '--endpoint-reconciler-type=none',
      `--watch-cache=${String(cache)}`,
    ]);
    await this.#answers(this.#server, async () => (await this.ask('GET', '/readyz')).status === 200);
  }

  /** As if its machine lost power. */
  async down(): Promise<void> {
    await kill(this.#server);
  }

  /** Returns an answer of any status. */
  async ask(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, asking: Asking = {}): Promise<Reply> {
    const { body, token, type = 'application/json' } = asking;
    const answer = await request(`https://127.0.0.1:${this.#port}${path}`, {
      method,
      dispatcher: token === undefined ? this.#administrator : this.#nobody,
      headers: { 'content-type': type, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ASK_MS),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, json: text.startsWith('{') ? JSON.parse(text) : text };
  }

  /** As an administrator. @throws Error unless it succeeds */
  async make(path: string, body: unknown): Promise<Reply['json']> {
    return done(await this.ask('POST', path, { body }), `POST ${path}`);
  }

  /** @throws Error unless it succeeds */
  async change(path: string, body: unknown): Promise<Reply['json']> {
    return done(await this.ask('PATCH', path, { body, type: 'application/merge-patch+json' }), `PATCH ${path}`);
  }

  /**
   * Succeeds if it does not exist. Pods stay for their grace period, as nothing ends them: 0 seconds removes them at
   * once.
   */
  async remove(path: string, graceSeconds?: number): Promise<void> {
    const body = graceSeconds === undefined ? undefined : { gracePeriodSeconds: graceSeconds };
    const reply = await this.ask('DELETE', path, { body });
    if (reply.status !== 404) done(reply, `DELETE ${path}`);
  }

  /** A service account's token, valid for an hour. */
  async token(namespace: string, account: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
    const { status } = await this.make(path, { spec: { expirationSeconds: 3_600 } });
    return status.token as string;
  }

  /** Makes etcd drop all versions before the current one. */
  async compact(): Promise<void> {
    const etcd = async (what: string, body: object): Promise<{ header: { revision: string } }> => {
      const url = `http://127.0.0.1:${this.#etcdPort}/v3/kv/${what}`;
      const answer = await request(url, {
        method: 'POST',
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(ASK_MS),
      });
      if (answer.statusCode !== 200) throw new Error(`etcd answered ${answer.statusCode}: ${await answer.body.text()}`);
      return (await answer.body.json()) as { header: { revision: string } };
    };
    const { header } = await etcd('range', { key: Buffer.from('/').toString('base64') });
    await etcd('compaction', { revision: header.revision, physical: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await this.#administrator.destroy();
    await this.#nobody.destroy();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #begin(): Promise<void> {
    this.#etcdPort = await freePort();
    this.#port = await freePort();
    const [client, peer] = [`http://127.0.0.1:${this.#etcdPort}`, `http://127.0.0.1:${await freePort()}`];
    rmSync(join(this.dir, 'etcd'), { recursive: true, force: true });
    this.#etcd = this.#spawn('etcd', [
      '--data-dir=etcd',
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      '--unsafe-no-fsync',
      // Otherwise the bookmarks of a quiet collection would become outdated too. Clusters are set up with a few
      // seconds.
      '--watch-progress-notify-interval=1s',
    ]);
    await this.#answers(this.#etcd, async () => {
      const answer = await request(`${client}/health`, { signal: AbortSignal.timeout(ASK_MS) });
      return (await answer.body.text()).includes('true');
    });
    await this.up();
  }

  async #answers(program: ChildProcess, asked: () => Promise<boolean>): Promise<void> {
    const looks = async (): Promise<boolean> => !runs(program) || (await asked());
    await until(looks, START_MS, 'an answer');
    if (!runs(program)) throw new Error('it has ended');
  }

  #spawn(name: (typeof CONTROL_PLANE_PROGRAMS)[number], args: string[]): ChildProcess {
    const log = openSync(join(this.dir, `${name}.log`), 'a');
    const options = {
      cwd: this.dir,
      env: allowedEnvironment(),
      stdio: ['ignore', log, log] as ['ignore', number, number],
    };
    const child = spawn(find(name) ?? name, args, options).on('error', () => undefined);
    closeSync(log);
    return child;
  }

  async #end(): Promise<void> {
    await kill(this.#server);
    await kill(this.#etcd);
  }

  #log(): string {
    return CONTROL_PLANE_PROGRAMS.map((name) => {
      const lines = readFileSync(join(this.dir, `${name}.log`), { encoding: 'utf8', flag: 'a+' }).split('\n');
      return `--- ${name}\n${lines.slice(-20).join('\n')}`;
    }).join('\n');
  }
}

function done({ status, json }: Reply, what: string): Reply['json'] {
  if (status < 200 || status > 299) throw new Error(`${what}: ${status} ${JSON.stringify(json)}`);
  return json;
}

const runs = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

async function kill(child: ChildProcess | null): Promise<void> {
  if (child === null || !runs(child)) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}
