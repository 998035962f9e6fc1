/** What the node-native runtimes have in common: the node's images, and its sandboxes' network. */
import { join } from 'node:path';
import { ImageStore } from '../../images/image-store.ts';
import type { RuntimeConfig } from '../select.ts';
import { Network } from './network/network.ts';
import { findProgram } from './programs.ts';

const IMAGE_TOOLS = ['skopeo', 'umoci', 'bwrap'];
const MEBIBYTE = 1024 * 1024;

export const imagesDirOf = ({ oci, dataDir }: RuntimeConfig): string => oci?.imagesDir ?? join(dataDir, 'images');

/** @throws ServiceError `not_supported` that says which tool is missing. */
export async function needImageTools(): Promise<void> {
  for (const tool of IMAGE_TOOLS) await findProgram(tool);
}

export async function openImages(config: RuntimeConfig): Promise<ImageStore> {
  const { oci, log } = config;
  return await ImageStore.open({
    dir: imagesDirOf(config),
    registry: oci?.registry ?? { mirrors: {}, insecure: [] },
    archives: oci?.archives ?? {},
    budgetBytes: oci?.imagesBudgetMb === undefined ? undefined : oci.imagesBudgetMb * MEBIBYTE,
    log,
  });
}

/** `tag` distinguishes this agent's names from those of others. */
export function makeNetwork(tag: string, { oci, log }: RuntimeConfig): Network {
  return new Network({ tag, resolvers: oci?.resolvers, subnet: oci?.subnet, uplinkPid: oci?.uplinkPid, log });
}
