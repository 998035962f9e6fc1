/**
 * Remembers which runtime made the containers of a data directory. A runtime does not see another's containers: an
 * agent started with a different one would leave them running without an owner, and report their sandboxes as ended.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../src/lib/logger.ts';
import { namesIn } from '../src/lib/names-in.ts';
import { readIfThere } from '../src/lib/whole-file.ts';
import { ServiceError } from '../src/protocol/errors.ts';
import type { AgentConfig } from './config.ts';
import { homesIn } from './pool/container-homes.ts';
import type { ContainerRuntime } from './runtime/runtime.ts';

const FILE = 'runtime';
const NAMES: readonly string[] = ['docker', 'oci', 'gvisor', 'fake'] satisfies ContainerRuntime['name'][];

/**
 * The configuration, with `auto` replaced by the runtime whose containers exist here.
 * @throws ServiceError `not_supported`, with advice, if a different runtime is configured.
 */
export async function keepRuntime(config: AgentConfig, log: Logger): Promise<AgentConfig> {
  const before = await runtimeOf(config.dataDir);
  if (before === null || before === config.runtime) return config;
  const left = (await namesIn(homesIn(config.dataDir))).length;
  if (left === 0) return config;
  if (config.runtime === 'auto') {
    log.info({ runtime: before, containers: left }, 'keeping the runtime of the existing containers');
    return { ...config, runtime: before };
  }
  throw new ServiceError(
    'not_supported',
    `${config.dataDir} has ${left} containers of the runtime ${before}, which ${config.runtime} cannot see: start the ` +
      `agent with MILLIBOX_RUNTIME=${before} and MILLIBOX_ON_STOP=destroy once, stop it, and start it with ${config.runtime}`,
  );
}

/** Must be called before the first container is made. */
export async function noteRuntime(dataDir: string, name: ContainerRuntime['name']): Promise<void> {
  if ((await runtimeOf(dataDir)) === name) return;
  await writeFile(join(dataDir, FILE), `${name}\n`, { mode: 0o600 });
}

/** Null if none is recorded. */
async function runtimeOf(dataDir: string): Promise<ContainerRuntime['name'] | null> {
  const name = (await readIfThere(join(dataDir, FILE)))?.trim() ?? '';
  return NAMES.includes(name) ? (name as ContainerRuntime['name']) : null;
}
