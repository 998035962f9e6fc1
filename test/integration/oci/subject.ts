/** How tests open the node-native runtime. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';
import { configFor } from './oci-config.ts';
import type { ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import type { Box } from '../../../agent/runtime/oci/boxes.ts';
import { OciRuntime } from '../../../agent/runtime/oci/oci-runtime.ts';
import { openOciRuntime } from '../../../agent/runtime/oci/open.ts';
import { killPid } from '../../../agent/runtime/oci/pids.ts';
import type { ContainerRuntime } from '../../../agent/runtime/runtime.ts';
import { baseImage } from '../../helpers/images.ts';
import type { RuntimeConfig } from '../../../agent/runtime/select.ts';

/** Images are unpacked once for all tests of a file. */
const imagesDir = mkdtempSync(path.join(tmpdir(), 'mbx-images-'));
afterAll(() => rmSync(imagesDir, { recursive: true, force: true }));

export const ociConfig = (dataDir: string): RuntimeConfig => configFor({ dataDir, imagesDir });

/** The subject of the contract suite and its helpers. */
export function ociSubject(changes: Partial<NonNullable<RuntimeConfig['oci']>> = {}): ContractSubject {
  return {
    name: 'oci',
    open: (dataDir) => {
      const config = ociConfig(dataDir);
      return openOciRuntime({ ...config, ...(config.oci === undefined ? {} : { oci: { ...config.oci, ...changes } }) });
    },
    image: baseImage(),
    // Invalid names, and a registry on an unused port: nothing leaves the machine.
    failing: [
      { ref: 'UPPER/case', code: 'image_invalid' },
      { ref: '127.0.0.1:1/image:tag', code: 'image_unreachable' },
    ],
    linux: true,
    kill: (runtime, id) => {
      killPid(processOf(runtime, id).pid);
      return Promise.resolve();
    },
  };
}

/** The container's process as known to the runtime. */
export function processOf(runtime: ContainerRuntime, id: string): Box {
  const box = runtime instanceof OciRuntime ? runtime.processOf(id) : undefined;
  if (box === undefined) throw new Error(`there is no container ${id}`);
  return box;
}
