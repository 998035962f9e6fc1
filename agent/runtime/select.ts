/** Which runtime a node uses. */
import { access, constants } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { AgentConfig } from '../config.ts';
import type { RegistryConfig } from '../images/registry.ts';
import type { ContainerRuntime } from './runtime.ts';

/** What a runtime is made with. Each takes what it needs. */
export interface RuntimeConfig {
  nodeName: string;
  /** Where the runtime may keep state of its own; also what tells our containers from those of another agent. */
  dataDir: string;
  boxinitPath: string;
  dockerSocket: string;
  runtime: 'auto' | 'docker' | 'oci' | 'gvisor' | 'fake';
  /** For the node-native one. */
  oci?: OciConfig;
  log: Logger;
}

export interface OciConfig {
  /** `runc`, `crun`, or a path. Default: runc. */
  program?: string | undefined;
  /** false: the runtime is run for each container. */
  nursery?: boolean | undefined;
  /** Default: below the data directory. One agent at a time. */
  imagesDir?: string | undefined;
  /** Images that nobody uses make room while all together take more. Default: no limit. */
  imagesBudgetMb?: number | undefined;
  /** Name servers of sandboxes with a network. Default: the node's own. */
  resolvers?: readonly string[] | undefined;
  /** Addresses of sandboxes with a network. Default: a range that no route of this machine leads to. */
  subnet?: string | undefined;
  /** Sandboxes reach out through the network namespace of this process. Default: the agent's own. */
  uplinkPid?: number | undefined;
  registry: RegistryConfig;
  /** Image reference → an archive on this machine that it is imported from, so that no registry is asked. */
  archives: Readonly<Record<string, string>>;
}

/**
 * `auto` takes the node-native one where the machine has what that needs, and Docker otherwise.
 * @throws ServiceError `not_supported` that says what is missing.
 */
export async function openRuntime(config: AgentConfig, log: Logger): Promise<ContainerRuntime> {
  const options: RuntimeConfig = {
    nodeName: config.nodeName,
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
    log.info({ why: error instanceof Error ? error.message : String(error) }, 'no node-native runtime here: docker');
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
