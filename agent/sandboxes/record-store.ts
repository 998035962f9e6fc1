/**
 * One file per sandbox, so that an agent that was killed knows what it had. A file is a line of JSON with everything,
 * and below it a line for each change since: an append costs a few microseconds, a rename over a file makes ext4 write
 * it out. Holds secrets: mode 0600.
 */
import { appendFileSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import { StoredImage } from '../pool/container-homes.ts';

const Change = z.object({
  record: SandboxRecord,
  containerId: z.string().nullable(),
  image: StoredImage.nullable(),
});
const StoredSandbox = Change.extend({
  version: z.literal(1),
  /** Null once it has ended: env and secrets are not kept any longer than they are needed. */
  spec: SandboxSpec.nullable(),
});
export type StoredSandbox = z.infer<typeof StoredSandbox>;

/** Changes below the first line before the file is written anew: a lifetime may be extended every minute. */
const MAX_CHANGES = 64;

export class RecordStore {
  readonly #dir: string;
  readonly #log: Logger;
  /** Lines of each file. One that this agent has not written itself has too many. */
  readonly #lines = new Map<string, number>();

  constructor(dataDir: string, log: Logger) {
    this.#dir = path.join(dataDir, 'sandboxes');
    this.#log = log;
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
  }

  /**
   * On the disk's way when this returns. Synchronous: nothing can come between a change and its record, and it costs
   * less than the trips through the thread pool. See docs/adr/0003.
   */
  save(stored: StoredSandbox): void {
    const { id } = stored.record;
    const file = this.#file(id);
    const lines = this.#lines.get(id) ?? 0;
    if (lines > 0 && lines <= MAX_CHANGES) {
      const { record, containerId, image } = stored;
      appendFileSync(file, `${JSON.stringify({ record, containerId, image })}\n`);
      this.#lines.set(id, lines + 1);
    } else {
      writeFileSync(`${file}.new`, whole(stored), { mode: 0o600 });
      renameSync(`${file}.new`, file);
      this.#lines.set(id, 1);
    }
  }

  /** After the last `save` of a sandbox: its secrets leave the disk too, behind the caller's back. */
  seal(stored: StoredSandbox): void {
    const file = this.#file(stored.record.id);
    const rewrite = async (): Promise<void> => {
      await writeFile(`${file}.new`, whole({ ...stored, spec: null }), { mode: 0o600 });
      if (this.#lines.has(stored.record.id)) await rename(`${file}.new`, file);
      else await rm(`${file}.new`, { force: true });
    };
    background(rewrite(), 'sealing a record', this.#log);
  }

  remove(id: string): void {
    this.#lines.delete(id);
    rmSync(this.#file(id), { force: true });
  }

  /** What an earlier agent wrote. A file that cannot be read is set aside, not deleted and not believed. */
  load(): StoredSandbox[] {
    const all: StoredSandbox[] = [];
    for (const name of readdirSync(this.#dir)) {
      const file = path.join(this.#dir, name);
      if (name.endsWith('.new')) rmSync(file, { force: true });
      if (!name.endsWith('.json')) continue;
      try {
        const stored = parseLines(readFileSync(file, 'utf8'));
        if (`${stored.record.id}.json` !== name) throw new Error('the file is named after another sandbox');
        this.#lines.set(stored.record.id, Number.POSITIVE_INFINITY);
        all.push(stored);
      } catch (error) {
        this.#log.error({ err: error, file: name }, 'a sandbox record cannot be read and is set aside');
        renameSync(file, `${file}.unreadable`);
      }
    }
    return all;
  }

  #file(id: string): string {
    if (!ID_PATTERN.test(id)) throw new Error('an id that is no file name');
    return path.join(this.#dir, `${id}.json`);
  }
}

const whole = (stored: StoredSandbox): string => `${JSON.stringify(stored)}\n`;

/** The first line and the newest change. A last line without its end was being written when the agent died. */
function parseLines(text: string): StoredSandbox {
  const lines = text.split('\n').slice(0, -1);
  const stored = StoredSandbox.parse(JSON.parse(lines[0] ?? ''));
  const newest = lines.length > 1 ? lines.at(-1) : undefined;
  const result = newest === undefined ? stored : { ...stored, ...Change.parse(JSON.parse(newest)) };
  return result.record.endedAtMs === null ? result : { ...result, spec: null };
}
