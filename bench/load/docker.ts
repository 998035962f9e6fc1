/**
 * The Docker baselines: its exec API over its own socket, and `docker run`. A label on the containers names their run.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Pool } from 'undici';

const run = promisify(execFile);
const labelOf = (directory: string): string => `millibox.bench=${directory}`;
/** A sandbox's defaults, so that both sides do the same work. */
const OPTIONS = ['--network', 'none', '--cpus', '1', '--memory', '512m', '--pids-limit', '512'];
const REMOVE_LIMIT_MS = 60_000;

/** Removes the remaining containers of this run. */
export async function removeContainers(directory: string): Promise<void> {
  const args = ['ps', '-aq', '--no-trunc', '--filter', `label=${labelOf(directory)}`];
  // Without a Docker engine there are none.
  const { stdout } = await run('docker', args, { timeout: REMOVE_LIMIT_MS }).catch(() => ({ stdout: '' }));
  const ids = stdout.split('\n').filter((id) => id !== '');
  if (ids.length > 0) await run('docker', ['rm', '-f', ...ids], { timeout: REMOVE_LIMIT_MS }).catch(() => undefined);
}

export class DockerBaseline implements AsyncDisposable {
  readonly #pool: Pool;
  readonly image: string;
  readonly #options: readonly string[];
  #container: string | undefined;

  /** @param directory the run's directory */
  constructor(image: string, directory: string, socketPath: string) {
    this.image = image;
    this.#options = [...OPTIONS, '--label', labelOf(directory)];
    this.#pool = new Pool('http://docker', {
      socketPath,
      connections: 16,
      headersTimeout: 60_000,
      bodyTimeout: 60_000,
    });
  }

  /** The baseline, or undefined if no Docker engine with this image answers. */
  static async find(
    image: string,
    directory: string,
    socketPath = '/var/run/docker.sock',
  ): Promise<DockerBaseline | undefined> {
    try {
      await run('docker', ['image', 'inspect', image], { timeout: 20_000 });
      return new DockerBaseline(image, directory, socketPath);
    } catch {
      return undefined;
    }
  }

  /** Runs `docker run --rm IMAGE COMMAND` to its end. */
  async run(argv: readonly string[]): Promise<void> {
    await run('docker', ['run', '--rm', ...this.#options, this.image, ...argv], { timeout: 120_000 });
  }

  /** An idle container for `exec`, with a file of the host mounted at the given path. */
  async startIdle(file: string, path: string): Promise<void> {
    const { stdout } = await run(
      'docker',
      ['run', '-d', ...this.#options, '-v', `${file}:${path}:ro`, this.image, 'sleep', '86400'],
      { timeout: 120_000 },
    );
    this.#container = stdout.trim();
  }

  /** One exec in the idle container through the API: create, start and read to the end, query the exit code. */
  async exec(argv: readonly string[]): Promise<void> {
    const { Id: id } = (await this.#call('POST', `/containers/${this.#container}/exec`, {
      AttachStdout: true,
      AttachStderr: true,
      Cmd: argv,
    })) as { Id: string };
    await this.#call('POST', `/exec/${id}/start`, { Detach: false, Tty: false });
    const { ExitCode: code } = (await this.#call('GET', `/exec/${id}/json`)) as { ExitCode: number | null };
    if (code !== 0) throw new Error(`docker exec ended with ${code}`);
  }

  /** Removes the containers that this run created. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#container !== undefined) await run('docker', ['rm', '-f', this.#container], { timeout: REMOVE_LIMIT_MS });
    await this.#pool.close();
  }

  async #call(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const answer = await this.#pool.request({
      method,
      path,
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`docker answered ${answer.statusCode}: ${text}`);
    return answer.headers['content-type'] === 'application/json' ? JSON.parse(text) : text;
  }
}
