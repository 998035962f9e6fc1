/** What the tests of the node-native runtime run it with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';
import { setupImage } from '../../../src/cli/config.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { silent } from '../../../src/lib/logger.ts';
import type { RuntimeConfig } from '../../../agent/runtime/select.ts';

/** Images are unpacked once for all tests of a file. */
const imagesDir = mkdtempSync(path.join(tmpdir(), 'mbx-images-'));
afterAll(() => rmSync(imagesDir, { recursive: true, force: true }));

export function ociConfig(dataDir: string): RuntimeConfig {
  const base = setupImage();
  return {
    nodeName: 'test',
    dataDir,
    boxinitPath: boxinitPath(),
    dockerSocket: '/var/run/docker.sock',
    runtime: 'oci',
    oci: {
      imagesDir,
      registry: { mirrors: {}, insecure: [] },
      archives: base === undefined ? {} : { [base.ref]: base.tar },
    },
    log: silent,
  };
}
