import * as z from 'zod';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { PoolState } from '../../../protocol/node.ts';
import { ImageName, ImageRef } from '../../../protocol/sandbox.ts';
import { bodyOf } from '../../http/body.ts';
import { route, type Route } from '../../http/route.ts';
import { NodeView } from '../../nodes/service.ts';
import type { Services } from '../../services.ts';

const NodePath = z.strictObject({ name: z.string().max(300) });
const OnBody = z.strictObject({ on: z.boolean().default(true) });
const DrainBody = OnBody.extend({
  deadlineMs: z
    .int()
    .min(0)
    .max(MAX_TIMEOUT_MS)
    .optional()
    .describe('Sandboxes that are still alive after this are ended'),
});
const PreloadBody = z.strictObject({
  image: ImageName,
  refresh: z
    .boolean()
    .default(true)
    .describe('Ask the registry even where the image is present, since its tag may have moved'),
});
const ImageQuery = z.strictObject({ image: ImageRef });
const ImportQuery = z.strictObject({ image: ImageName, node: z.string().min(1).max(300) });
const Outcome = z.object({
  node: z.string(),
  ok: z.boolean(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
});
const Outcomes = z.object({ nodes: z.array(Outcome) });
const PullOutcome = Outcome.extend({
  changed: z
    .boolean()
    .nullable()
    .describe(
      'Whether the name stands for a different image than before; null: the pull failed, or the agent is older',
    ),
});

export function operatorRoutes({ nodes, images }: Services): Route[] {
  return [
    route(
      {
        method: 'GET',
        url: '/v1/nodes',
        id: 'listNodes',
        summary: 'Nodes and their state',
        admin: true,
        overview: true,
        answers: { 200: { description: 'The nodes', schema: z.object({ nodes: z.array(NodeView) }) } },
      },
      () => ({ nodes: nodes.list() }),
    ),
    route(
      {
        method: 'POST',
        url: '/v1/nodes/:name/cordon',
        id: 'cordonNode',
        summary: 'Keep new sandboxes away from a node or, with `on: false`, allow them again',
        admin: true,
        params: NodePath,
        body: OnBody,
        answers: { 200: { description: 'The node', schema: NodeView } },
      },
      ({ params, body }) => nodes.cordon(params.name, body.on),
    ),
    route(
      {
        method: 'POST',
        url: '/v1/nodes/:name/drain',
        id: 'drainNode',
        summary: 'Drain a node: no new sandboxes, and at the deadline the remaining ones are ended',
        admin: true,
        params: NodePath,
        body: DrainBody,
        answers: { 200: { description: 'The node', schema: NodeView } },
      },
      ({ params, body }) => nodes.drain(params.name, body.on, body.deadlineMs),
    ),
    route(
      {
        method: 'GET',
        url: '/v1/pools',
        id: 'listPools',
        summary: 'Warm containers, by node and image',
        admin: true,
        overview: true,
        answers: {
          200: {
            description: 'The pools',
            schema: z.object({ pools: z.array(PoolState.extend({ node: z.string() })) }),
          },
        },
      },
      () => ({ pools: nodes.pools() }),
    ),
    route(
      {
        method: 'GET',
        url: '/v1/images',
        id: 'listImages',
        summary: 'Images, and the nodes that have them',
        admin: true,
        overview: true,
        answers: {
          200: {
            description: 'The images',
            schema: z.object({ images: z.array(z.object({ image: z.string(), nodes: z.array(z.string()) })) }),
          },
        },
      },
      () => ({ images: images.list() }),
    ),
    route(
      {
        method: 'POST',
        // A colon begins a parameter; two stand for a literal one.
        url: '/v1/images::preload',
        id: 'preloadImage',
        summary:
          'Pull the image that a name stands for now onto all nodes. Answers once the pull has succeeded or failed on each',
        admin: true,
        body: PreloadBody,
        answers: {
          200: { description: 'The outcome on each node', schema: z.object({ nodes: z.array(PullOutcome) }) },
        },
      },
      async ({ body }) => ({ nodes: await images.preload(body.image, body) }),
    ),
    route(
      {
        method: 'DELETE',
        url: '/v1/images',
        id: 'removeImage',
        summary: 'Remove an image from all nodes where no sandbox uses it',
        admin: true,
        query: ImageQuery,
        answers: { 200: { description: 'The outcome on each node', schema: Outcomes } },
      },
      async ({ query }) => ({ nodes: await images.remove(query.image) }),
    ),
    route(
      {
        method: 'PUT',
        url: '/v1/images',
        id: 'importImage',
        summary: 'Import an image into a node: docker save output, an OCI archive, or the tar of a root file system',
        admin: true,
        query: ImportQuery,
        rawBody: 'application/x-tar',
        answers: { 200: { description: 'The image', schema: z.object({ id: z.string() }) } },
      },
      ({ query, request, signal }) => images.import(query.node, query.image, bodyOf(request), signal),
    ),
  ];
}
