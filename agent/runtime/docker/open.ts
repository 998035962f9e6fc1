/** Opens the runtime `docker`. */
import Docker from 'dockerode';
import { withDeadline } from '../../../src/lib/deadline.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { RuntimeConfig } from '../select.ts';
import { ownerOf } from './create-options.ts';
import { DockerRuntime } from './docker-runtime.ts';
import { Internet } from './internet.ts';

const PING_MS = 10_000;

/** @throws ServiceError `not_supported` if no engine answers. */
export async function openDockerRuntime(config: RuntimeConfig): Promise<DockerRuntime> {
  // No custom agent: docker-modem formats its options, including the agent and its sockets, at each request.
  const docker = new Docker({ socketPath: config.dockerSocket });
  try {
    await withDeadline({ deadlineMs: PING_MS, what: "Docker's answer" }, () => docker.ping());
  } catch (error) {
    const message = `no Docker engine answers at ${config.dockerSocket}: start it, or set MILLIBOX_DOCKER_SOCKET to its socket`;
    throw new ServiceError('not_supported', message, { cause: error });
  }
  const internet = new Internet({ docker, owner: ownerOf(config.dataDir), log: config.log });
  await internet.resume();
  return new DockerRuntime({
    docker,
    internet,
    dataDir: config.dataDir,
    boxinitPath: config.boxinitPath,
    log: config.log,
  });
}
