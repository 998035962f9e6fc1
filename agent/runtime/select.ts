/** Chooses and opens the node's runtime. */
import { access, constants } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { AgentConfig } from '../config.ts';
import type { RegistryConfig } from '../images/registry.ts';
import type { ContainerRuntime } from './runtime.ts';

/** The configuration of all runtimes; each uses what it needs. */
export interface RuntimeConfig {
  /** Holds the runtime's state, and distinguishes this agent's containers from those of others. */
  dataDir: string;
  boxinitPath: string;
  dockerSocket: string;
  runtime: 'auto' | 'docker' | 'oci' | 'gvisor' | 'fake';
  /** For the node-native runtimes. */
  oci?: OciConfig;
  log: Logger;
}

export interface OciConfig {
  /** `runc`, `crun`, or a path. Default: runc. */
  program?: string | undefined;
  /** false: the OCI runtime is run for each container. */
  nursery?: boolean | undefined;
  /** Default: below the data directory. Used by one agent at a time. */
  imagesDir?: string | undefined;
  /** Unused images are evicted while all together take more than this. Default: no limit. */
  imagesBudgetMb?: number | undefined;
  /** Name servers of sandboxes with a network. Default: the node's own. */
  resolvers?: readonly string[] | undefined;
  /** Addresses of sandboxes with a network. Default: a range that no route of this machine covers. */
  subnet?: string | undefined;
  /** The sandboxes' bridge is in this process's network namespace. Default: the agent's own. */
  uplinkPid?: number | undefined;
  registry: RegistryConfig;
  /** Image reference → an archive on this machine to import in place of a pull. */
  archives: Readonly<Record<string, string>>;
}

/**
 * `auto` chooses `oci` if the machine has what it needs, otherwise `docker`.
 * @throws ServiceError `not_supported` that says what is missing.
 */
export async function openRuntime(config: AgentConfig, log: Logger): Promise<ContainerRuntime> {
  const options: RuntimeConfig = {
    dataDir: config.dataDir,
    boxinitPath: config.boxinitPath,
    dockerSocket: config.dockerSocket,
    runtime: config.runtime,
    oci: config.oci,
    log,
  };
  if (config.runtime === 'fake') {
    const { FakeRuntime } = await import('./fake/fake-runtime.ts');
    return new FakeRuntime();
  }
  await needBoxinit(config.boxinitPath);
  if (config.runtime === 'docker') return await openDocker(options);
  if (config.runtime !== 'auto') return await openOci(options);
  try {
    return await openOci(options);
  } catch (error) {
    log.info(
      { why: error instanceof Error ? error.message : String(error) },
      'no node-native runtime available: using docker',
    );
    return await openDocker(options);
  }
}

async function openDocker(options: RuntimeConfig): Promise<ContainerRuntime> {
  const { openDockerRuntime } = await import('./docker/open.ts');
  return await openDockerRuntime(options);
}

async function openOci(options: RuntimeConfig): Promise<ContainerRuntime> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    throw new ServiceError('not_supported', 'the node-native runtime needs Linux and root');
  }
  if (options.runtime === 'gvisor') {
    const { openGvisorRuntime } = await import('./gvisor/open.ts');
    return await openGvisorRuntime(options);
  }
  const { openOciRuntime } = await import('./oci/open.ts');
  return await openOciRuntime(options);
}

async function needBoxinit(file: string): Promise<void> {
  try {
    await access(file, constants.X_OK);
  } catch (error) {
    throw new ServiceError('not_supported', `no boxinit at ${file}: build it, or set MILLIBOX_BOXINIT`, {
      cause: error,
    });
  }
}
