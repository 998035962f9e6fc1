/** One JSON file per sandbox, so that an agent that was killed knows what it had. Holds secrets: mode 0600. */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import { StoredImage } from '../pool/container-homes.ts';

const StoredSandbox = z.object({
  version: z.literal(1),
  record: SandboxRecord,
  /** Null once it has ended: env and secrets are not kept any longer than they are needed. */
  spec: SandboxSpec.nullable(),
  containerId: z.string().nullable(),
  image: StoredImage.nullable(),
});
export type StoredSandbox = z.infer<typeof StoredSandbox>;

export class RecordStore {
  readonly #dir: string;
  readonly #log: Logger;

  constructor(dataDir: string, log: Logger) {
    this.#dir = path.join(dataDir, 'sandboxes');
    this.#log = log;
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
  }

  /**
   * Whole or not at all. Synchronous: it is one small write into the page cache, cheaper than four trips through the
   * thread pool, and nothing can come between a change and its record.
   */
  save(stored: StoredSandbox): void {
    const file = this.#file(stored.record.id);
    const draft = `${file}.new`;
    writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 });
    renameSync(draft, file);
  }

  remove(id: string): void {
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
        const stored = StoredSandbox.parse(JSON.parse(readFileSync(file, 'utf8')));
        if (`${stored.record.id}.json` !== name) throw new Error('the file is named after another sandbox');
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
