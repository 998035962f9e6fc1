/**
 * One file per sandbox, for the agent that follows this one. A file is a JSON line with everything, then a line per
 * change: an append costs a few microseconds, a rename over a file makes ext4 write it out (docs/adr/0003). Holds
 * secrets: mode 0600.
 */
import { appendFileSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { isMissing, readIfThereSync, writeWholeSync } from '../../src/lib/whole-file.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import { StoredImage } from '../pool/container-homes.ts';

const Change = z.object({
  record: SandboxRecord,
  containerId: z.string().nullable(),
  image: StoredImage.nullable(),
  /** As `Sandbox.usedUntilMs`. Earlier agents wrote none. */
  usedUntilMs: z.number().nullable().default(null),
  /** As `Sandbox.oomKills`. Earlier agents wrote none. */
  oomKills: z
    .object({ attributed: z.number(), exits: z.array(z.string()).readonly() })
    .default({ attributed: 0, exits: [] }),
});
const StoredSandbox = Change.extend({
  version: z.literal(1),
  /** Null once it has ended: env and secrets are kept no longer than needed. */
  spec: SandboxSpec.nullable(),
});
export type StoredSandbox = z.infer<typeof StoredSandbox>;

/** Appended lines before the file is rewritten: a lifetime may be extended every minute. */
const MAX_CHANGES = 64;

export class RecordStore {
  readonly dataDir: string;
  readonly #dir: string;
  readonly #spareOf: (containerId: string) => string;
  readonly #log: Logger;
  /** Lines per file. A file that this agent did not write counts as full, so it is rewritten at its next change. */
  readonly #lines = new Map<string, number>();
  readonly #left = new Map<string, unknown>();

  /** @param spareOf path of an empty file that becomes the first record of the container's sandbox, if it exists */
  constructor(dataDir: string, spareOf: (containerId: string) => string, log: Logger) {
    this.dataDir = dataDir;
    this.#spareOf = spareOf;
    this.#dir = path.join(dataDir, 'sandboxes');
    this.#log = log;
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
  }

  /**
   * Written, though not synced, when this returns. Synchronous: nothing can come between a change and its record, and
   * it costs less than the thread pool. See docs/adr/0003.
   * @throws Error of the file system: then the last change that was saved still counts.
   */
  save(stored: StoredSandbox): void {
    const { id } = stored.record;
    const file = this.#file(id);
    const lines = this.#lines.get(id) ?? 0;
    if (this.#left.has(id)) throw new Error('the record of an earlier agent is kept for the next one');
    try {
      if (lines > 0 && lines <= MAX_CHANGES) {
        const { record, containerId, image, usedUntilMs, oomKills } = stored;
        appendFileSync(file, `${JSON.stringify({ record, containerId, image, usedUntilMs, oomKills })}\n`);
        this.#lines.set(id, lines + 1);
      } else {
        if (lines > 0 || !this.#saveInSpare(file, stored)) writeWholeSync(file, whole(stored));
        this.#lines.set(id, 1);
      }
    } catch (error) {
      // A full disk may have taken half of a line. The next one must not be appended to it.
      if (lines > 0) this.#lines.set(id, Number.POSITIVE_INFINITY);
      rmSync(`${file}.new`, { force: true });
      throw error;
    }
  }

  /** False if the container has no spare file. @throws Error of the file system. */
  #saveInSpare(file: string, stored: StoredSandbox): boolean {
    if (stored.containerId === null) return false;
    const spare = this.#spareOf(stored.containerId);
    try {
      writeFileSync(spare, whole(stored), { flag: 'r+' });
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
    renameSync(spare, file);
    return true;
  }

  /** After the last `save` of a sandbox: rewrites the file without its secrets, asynchronously. */
  seal(stored: StoredSandbox): void {
    const file = this.#file(stored.record.id);
    const rewrite = async (): Promise<void> => {
      try {
        await writeFile(`${file}.new`, whole({ ...stored, spec: null }), { mode: 0o600 });
        if (this.#lines.has(stored.record.id)) await rename(`${file}.new`, file);
      } finally {
        // Of one that is removed meanwhile, or what a full disk took of it.
        await rm(`${file}.new`, { force: true });
      }
    };
    background(rewrite(), 'sealing a record', this.#log);
  }

  remove(id: string): void {
    this.#lines.delete(id);
    rmSync(this.#file(id), { force: true });
  }

  /**
   * The records of an earlier agent. Those in an unknown format are renamed, neither deleted nor used. Unreadable ones
   * are left in place, and read again by the next call.
   */
  load(): StoredSandbox[] {
    this.#left.clear();
    return readdirSync(this.#dir).flatMap((name) => {
      if (name.endsWith('.new')) rmSync(path.join(this.#dir, name), { force: true });
      return name.endsWith('.json') ? (this.#read(name) ?? []) : [];
    });
  }

  /** Sandboxes of an earlier agent that may be alive but were not adopted, with the reason. */
  get left(): ReadonlyMap<string, unknown> {
    return this.#left;
  }

  /** Leaves a sandbox to the next agent: its record stays as it is. */
  leave(id: string, why: unknown): void {
    this.#left.set(id, why);
  }

  #read(name: string): StoredSandbox | undefined {
    const file = path.join(this.#dir, name);
    const id = path.basename(name, '.json');
    let text: string | undefined;
    try {
      text = readIfThereSync(file);
    } catch (error) {
      this.leave(id, error);
    }
    if (text === undefined) return undefined;
    try {
      const stored = parseLines(text);
      if (stored.record.id !== id) throw new Error('the file is named after another sandbox');
      this.#lines.set(id, Number.POSITIVE_INFINITY);
      return stored;
    } catch (error) {
      this.#log.error({ err: error, file: name }, 'a sandbox record is unreadable and is renamed');
      renameSync(file, `${file}.unreadable`);
      return undefined;
    }
  }

  #file(id: string): string {
    if (!ID_PATTERN.test(id)) throw new Error('an id that is no file name');
    return path.join(this.#dir, `${id}.json`);
  }
}

const whole = (stored: StoredSandbox): string => `${JSON.stringify(stored)}\n`;

/**
 * The first line with the newest change applied. A last line without a newline was being written when the agent died.
 */
function parseLines(text: string): StoredSandbox {
  const lines = text.split('\n').slice(0, -1);
  const stored = StoredSandbox.parse(JSON.parse(lines[0] ?? ''));
  const newest = lines.length > 1 ? lines.at(-1) : undefined;
  const result = newest === undefined ? stored : { ...stored, ...Change.parse(JSON.parse(newest)) };
  return result.record.endedAtMs === null ? result : { ...result, spec: null };
}
