/** Smaller control routes: network policy, registry credentials, images, and the caller's identity. */
import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import type { Network } from '../../../../protocol/sandbox.ts';
import { check } from '../../../http/route.ts';
import { imageKey } from '../../../images/names.ts';
import type { PrimeContext } from '../context.ts';
import { resolveImage } from '../images.ts';
import { maybe, networkOf } from './create.ts';
import type { Answer, ControlRoute } from './route.ts';
import { idOf } from './sandbox-routes.ts';

const Hosts = maybe(z.array(z.string().max(300)).max(1024));
const Policy = z.object({ allowlist: Hosts, denylist: Hosts });
const ImageCheck = z.object({ image: z.string().min(1).max(512) });

export function otherRoutes({ services, config }: PrimeContext): ControlRoute[] {
  const { sandboxes, images } = services;
  return [
    [
      'GET',
      '/sandbox/:id/egress-policy',
      ({ tenant, params }) => policyOf(sandboxes.get(tenant, idOf(params)).network),
    ],
    [
      'PUT',
      '/sandbox/:id/egress-policy',
      ({ tenant, params, body }) => {
        const { network } = sandboxes.get(tenant, idOf(params));
        const { allowlist, denylist } = check(Policy, body, 'body');
        // Clients always send both lists; the unused one is null.
        const wanted = networkOf(
          { network_access: undefined, network_allowlist: allowlist, network_denylist: denylist },
          network,
        );
        if (wanted !== network) {
          throw new ServiceError(
            'not_supported',
            'the network of a sandbox is chosen at creation: set network_allowlist or network_denylist there',
          );
        }
        return policyOf(network);
      },
    ],
    // The Prime CLI reads its user id from here and cannot delete by label without it.
    [
      'GET',
      '/user/whoami',
      ({ tenant }) => ({ data: { id: tenant, name: tenant, slug: tenant, email: null, scope: {} } }),
    ],
    [
      'POST',
      '/sandbox/:id/ssh-session',
      ({ tenant, params }) => {
        sandboxes.get(tenant, idOf(params));
        throw new ServiceError(
          'not_supported',
          'this server has no SSH: use `prime sandbox run`, `open_process`, or `millibox shell` for a terminal',
        );
      },
    ],
    ['GET', '/template/registry-credentials', () => ({ credentials: [] })],
    [
      'POST',
      '/template/check-docker-image',
      ({ body }) => {
        const asked = check(ImageCheck, body, 'body').image;
        const image = resolveImage(asked, config);
        const key = imageKey(image);
        if (images.list().some((each) => imageKey(each.image) === key)) {
          return { accessible: true, details: `${image} is on a node` };
        }
        return {
          accessible: false,
          details: `${image} is on no node yet; the first create that uses it will pull it`,
        };
      },
    ],
  ];
}

/** The network policy in force. It is fixed when the sandbox is created. */
function policyOf(network: Network): Answer {
  const policy = network === 'off' ? { allowlist: [], denylist: null } : { allowlist: null, denylist: [] };
  return { policy, generation: 1, applied_generation: 1, applied: true };
}
