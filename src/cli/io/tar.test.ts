import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { packFile } from './file-tar.ts';
import { unpackTree } from './tar.ts';

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'tar-'));
  onTestFinished(() => rmSync(made, { recursive: true }));
  return made;
}

/** An archive of one file, whose content never ends or breaks off after a while. */
function archive(reason?: Error): AsyncIterable<Uint8Array> {
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    for (let chunks = 0; reason === undefined || chunks < 10; chunks++) {
      await turn();
      yield Buffer.alloc(65_536, 1);
    }
    throw reason;
  };
  return packFile({ name: 'x', mode: 0o644, modifiedAtMs: 0, size: 1e9, bytes: bytes() });
}

test('a tree that breaks off fails with the reason of that, not with the end of the tar that unpacked it', async () => {
  const reason = new ServiceError('sandbox_ended');
  await expect(unpackTree(archive(reason), directory())).rejects.toBe(reason);
});

test('a tar that fails is reported, not the pipe that it broke', async () => {
  await expect(unpackTree(archive(), join(directory(), 'none'))).rejects.toThrow('tar ended with 2');
});
