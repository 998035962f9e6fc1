/** Distinct images, made on the spot and removed again. Each contains one static program. */
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setupImage } from '../../src/cli/config.ts';
import type { Operator } from '../../src/cli/io/operator.ts';
import { spread } from './concurrency.ts';

const run = promisify(execFile);
const WIDTH = 4;
const PULL_LIMIT_MS = 120_000;

/** Path of the program in each of them. */
export const PROGRAM_INSIDE = '/bin/millibox-true';

export class MadeImages implements AsyncDisposable {
  readonly refs: readonly string[];
  /** Settings by which the server finds the images, which are in no registry. */
  readonly env: Record<string, string>;
  readonly #directory: string;
  /** Imports them into Docker's store. */
  #imports: Promise<void> | undefined;

  private constructor(directory: string, refs: readonly string[], env: Record<string, string>) {
    this.#directory = directory;
    this.refs = refs;
    this.env = env;
  }

  /** Root file systems as tar archives, one per image, below this directory. */
  static async make(count: number, program: string, below: string): Promise<MadeImages> {
    const directory = mkdtempSync(join(below, 'images-'));
    try {
      return await MadeImages.#makeIn(directory, count, program);
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  static async #makeIn(directory: string, count: number, program: string): Promise<MadeImages> {
    const root = join(directory, 'root');
    for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev']) {
      mkdirSync(join(root, name), { recursive: true });
    }
    copyFileSync(program, join(root, PROGRAM_INSIDE));
    chmodSync(join(root, PROGRAM_INSIDE), 0o755);
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
    const refs = Array.from({ length: count }, (_, i) => `millibox-bench/i${process.pid}:${i}`);
    const base = setupImage();
    const list = base === undefined ? [] : [base.ref, base.tar];
    for (const [i, ref] of refs.entries()) {
      writeFileSync(join(root, 'etc/image'), `${ref}\n`);
      await run('tar', ['-C', root, '-cf', tarOf(directory, i), '.']);
      list.push(ref, tarOf(directory, i));
    }
    const file = join(directory, 'archives');
    writeFileSync(file, `${list.join('\n')}\n`);
    return new MadeImages(directory, refs, { MILLIBOX_BASE_IMAGE_FILE: file });
  }

  /** Loads all of them onto the nodes. */
  async load(runtime: string, operator: Operator): Promise<void> {
    if (runtime === 'docker') {
      this.#imports = spread(this.refs.length, WIDTH, async (i) => {
        await run('docker', ['import', tarOf(this.#directory, i), this.refs[i] as string], { timeout: PULL_LIMIT_MS });
      });
      await this.#imports;
    }
    await spread(this.refs.length, WIDTH, async (i) => {
      const ref = this.refs[i] as string;
      const failed = (await operator.preload(ref, PULL_LIMIT_MS)).find(({ ok }) => !ok);
      if (failed !== undefined) throw new Error(`${ref}: ${failed.error?.message}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Without the files no further import begins. One in progress would create an image that nobody removes.
    rmSync(this.#directory, { recursive: true, force: true });
    if (this.#imports === undefined) return;
    await this.#imports.catch(() => undefined);
    for (let at = 0; at < this.refs.length; at += WIDTH * 10) {
      await run('docker', ['rmi', '-f', ...this.refs.slice(at, at + WIDTH * 10)]).catch(() => undefined);
    }
  }
}

const tarOf = (directory: string, i: number): string => join(directory, `${i}.tar`);
