/** How tests configure the node-native runtime, including programs that a test starts in other namespaces. */
import { setupImage } from '../../../src/cli/config.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { silent } from '../../../src/lib/logger.ts';
import type { RuntimeConfig } from '../../../agent/runtime/select.ts';
import { noteDataDir } from '../../helpers/data-dirs.ts';

export function configFor({ dataDir, imagesDir }: { dataDir: string; imagesDir: string }): RuntimeConfig {
  const base = setupImage();
  noteDataDir(dataDir);
  return {
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
