/** Client of the operators' part of the API: nodes, pools, images. */
import type { Readable } from 'node:stream';
import * as z from 'zod';
import { request, type Dispatcher } from 'undici';
import { PoolState } from '../../protocol/node.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { doubtAddress, loadConfig } from '../../sdk/config.ts';
import { unreachable } from '../../sdk/outage.ts';
import type { Connection } from '../config.ts';

const CALL_LIMIT_MS = 30_000;
const NodeView = z.object({
  name: z.string(),
  state: z.string(),
  runtime: z.string().nullable(),
  sandboxes: z.int(),
  maxSandboxes: z.int().nullable(),
  ejectedMs: z.number(),
  drainDeadline: z.string().nullish(),
});
const Nodes = z.object({ nodes: z.array(NodeView) });
export type NodeView = z.infer<typeof NodeView>;
const Pools = z.object({ pools: z.array(PoolState.extend({ node: z.string() })) });
const Images = z.object({ images: z.array(z.object({ image: z.string(), nodes: z.array(z.string()) })) });
const Imported = z.object({ id: z.string() });
const Outcomes = z.object({
  nodes: z.array(
    z.object({
      node: z.string(),
      ok: z.boolean(),
      error: z.object({ code: z.string(), message: z.string() }).nullable(),
      // Reported by a pull, except by an older service.
      changed: z.boolean().nullish(),
    }),
  ),
});

export class Operator {
  readonly #urls: readonly string[];
  readonly #apiKey: string | undefined;

  /** @throws TypeError for an invalid gateway address. */
  constructor({ url, apiKey }: Connection) {
    this.#urls = loadConfig({ url }).urls;
    this.#apiKey = apiKey;
  }

  async nodes(): Promise<NodeView[]> {
    return Nodes.parse(await this.call('GET', '/v1/nodes')).nodes;
  }

  /** Keeps new sandboxes away from a node, or allows them again. */
  async cordon(name: string, on: boolean): Promise<NodeView> {
    return NodeView.parse(await this.call('POST', `/v1/nodes/${encodeURIComponent(name)}/cordon`, { on }));
  }

  /** As `cordon`; sandboxes still alive after `deadlineMs` are ended. */
  async drain(name: string, on: boolean, deadlineMs?: number): Promise<NodeView> {
    const body = { on, ...(deadlineMs === undefined ? {} : { deadlineMs }) };
    return NodeView.parse(await this.call('POST', `/v1/nodes/${encodeURIComponent(name)}/drain`, body));
  }

  async pools(): Promise<z.infer<typeof Pools>['pools']> {
    return Pools.parse(await this.call('GET', '/v1/pools')).pools;
  }

  /** Number of warm containers over all pools and nodes. */
  async warm(): Promise<number> {
    return (await this.pools()).reduce((sum, pool) => sum + pool.warm, 0);
  }

  async images(): Promise<z.infer<typeof Images>['images']> {
    return Images.parse(await this.call('GET', '/v1/images')).images;
  }

  /**
   * Pulls what an image's name currently stands for onto every node; with `onlyMissing`, only onto nodes without that
   * name. Resolves with the outcome on each.
   */
  async preload(
    image: string,
    limitMs: number,
    { onlyMissing = false } = {},
  ): Promise<z.infer<typeof Outcomes>['nodes']> {
    const body = { image, ...(onlyMissing ? { refresh: false } : {}) };
    return Outcomes.parse(await this.call('POST', '/v1/images:preload', body, limitMs)).nodes;
  }

  /** Removes an image from every node. Resolves with the outcome on each. */
  async removeImage(image: string, limitMs: number): Promise<z.infer<typeof Outcomes>['nodes']> {
    const path = `/v1/images?image=${encodeURIComponent(image)}`;
    return Outcomes.parse(await this.call('DELETE', path, undefined, limitMs)).nodes;
  }

  /** Imports an archive on a node as an image. Resolves with its id. */
  async importImage(image: string, node: string, archive: Readable, limitMs: number): Promise<string> {
    const path = `/v1/images?image=${encodeURIComponent(image)}&node=${encodeURIComponent(node)}`;
    return Imported.parse(await this.#send('PUT', path, { type: 'application/x-tar', data: archive }, limitMs)).id;
  }

  /** @throws ServiceError as the service answered; `node_unavailable` when no gateway did. */
  async call(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: object,
    limitMs = CALL_LIMIT_MS,
  ): Promise<unknown> {
    const json = body === undefined ? undefined : { type: 'application/json', data: JSON.stringify(body) };
    return await this.#send(method, path, json, limitMs);
  }

  async #send(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body: { type: string; data: string | Readable } | undefined,
    limitMs: number,
  ): Promise<unknown> {
    const answer = await this.#ask(method, path, body, limitMs);
    const text = await answer.body.text();
    const parsed = parse(text);
    if (answer.statusCode >= 400) {
      const refusal = ServiceError.fromWire((parsed as { error?: unknown } | undefined)?.error);
      throw doubtAddress(refusal, this.#urls[0] as string);
    }
    return parsed;
  }

  /** Of several gateways, the first that answers. */
  async #ask(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body: { type: string; data: string | Readable } | undefined,
    limitMs: number,
  ): Promise<Dispatcher.ResponseData> {
    const apiKey = this.#apiKey;
    const options = {
      method,
      headersTimeout: limitMs,
      bodyTimeout: limitMs,
      headers: {
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        ...(body === undefined ? {} : { 'content-type': body.type }),
      },
      body: body?.data ?? null,
    };
    let failure: unknown;
    for (const base of this.#urls) {
      try {
        return await request(`${base}${path}`, options);
      } catch (error) {
        failure = unreachable(error, base);
        // An archive that was partly sent cannot be sent a second time.
        if (typeof options.body === 'object' && options.body !== null) break;
      }
    }
    throw failure;
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw new ServiceError('protocol_error', 'the answer is not JSON: is this the address of a millibox gateway?');
  }
}
