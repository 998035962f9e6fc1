/** Gets a sandbox its image and container, up to the point at which an exec works. */
import { ServiceError } from '../../src/protocol/errors.ts';
import type { SandboxSpec } from '../../src/protocol/node.ts';
import type { Launched } from '../pool/launcher.ts';
import type { Pools } from '../pool/pools.ts';
import type { ClaimOptions, ContainerRuntime, Image } from '../runtime/runtime.ts';
import type { Sandbox } from './sandbox.ts';
import type { Sandboxes } from './sandboxes.ts';

/** Attempts with containers that die between start and claim, before the sandbox fails. */
const MAX_ATTEMPTS = 5;

interface ProvisionDeps {
  runtime: ContainerRuntime;
  pools: Pools;
  sandboxes: Sandboxes;
  /** Called for each claim; `hit`: a warm container was available. */
  onClaim(hit: boolean): void;
}

/**
 * With the image on the node and a warm container, runs synchronously up to the claim, so that a create is answered
 * with its container already chosen.
 * @throws ServiceError of the image or of the start; nothing is left behind.
 */
export async function provision(sandbox: Sandbox, deps: ProvisionDeps): Promise<void> {
  const { spec } = sandbox;
  if (spec === null) return;
  const { signal } = sandbox.provisioning;
  const image = deps.runtime.images.get(spec.image) ?? (await pull(sandbox, deps));
  try {
    await startOn(image, sandbox, spec, deps);
  } catch (error) {
    if (!isImageGone(error) || signal.aborted) throw error;
    // Removed while this waited for a container. A create that comes now would pull it, and so does this one, once.
    await startOn(await pull(sandbox, deps), sandbox, spec, deps);
  }
  if (!signal.aborted) deps.sandboxes.run(sandbox);
}

/**
 * Starts it up to the claim, unless it ends meanwhile.
 * @throws ServiceError `image_not_found` if the image is not on the node any more.
 */
async function startOn(image: Image, sandbox: Sandbox, spec: SandboxSpec, deps: ProvisionDeps): Promise<void> {
  const { signal } = sandbox.provisioning;
  sandbox.image = image;
  sandbox.env = { ...image.env, ...spec.env, ...spec.secrets };
  const { cpus, memoryMb, diskMb, pidsLimit, network } = spec;
  const wanted: ClaimOptions = {
    sandbox: sandbox.id,
    image,
    limits: { cpus, memoryMb, diskMb, pidsLimit },
    network,
    signal,
  };
  for (let attempt = 1; ; attempt += 1) {
    const warm = deps.pools.takeWarm(wanted);
    deps.onClaim(warm !== undefined);
    if (warm === undefined) deps.sandboxes.provisioning(sandbox);
    const launched = warm ?? (await deps.pools.waitFor(wanted, signal));
    if (!deps.sandboxes.place(sandbox, launched, warm !== undefined)) return;
    try {
      await claim(launched, wanted, deps);
      return;
    } catch (error) {
      if (sandbox.ended) return;
      deps.sandboxes.unplace(sandbox);
      if (hasNotAnswered(error)) deps.pools.doubt(launched.poolKey);
      if (signal.aborted || attempt >= MAX_ATTEMPTS || !isContainersFault(error)) throw error;
    }
  }
}

async function pull(sandbox: Sandbox, deps: ProvisionDeps): Promise<Image> {
  const { signal } = sandbox.provisioning;
  deps.sandboxes.provisioning(sandbox);
  return await deps.runtime.images.ensure(sandbox.record.image, { signal, tenant: sandbox.record.tenant });
}

async function claim(launched: Launched, wanted: ClaimOptions, deps: ProvisionDeps): Promise<void> {
  if (!launched.link.connected) throw new ServiceError('node_unavailable', 'the container died before it was claimed');
  await deps.runtime.claim(launched.container, launched.link, wanted);
}

const hasNotAnswered = (error: unknown): boolean => error instanceof ServiceError && error.code === 'deadline_exceeded';

/** Of one that was there before. */
const isImageGone = (error: unknown): boolean => error instanceof ServiceError && error.code === 'image_not_found';

const isContainersFault = (error: unknown): boolean =>
  !(error instanceof ServiceError) ||
  ['node_unavailable', 'deadline_exceeded', 'interrupted', 'internal'].includes(error.code);
