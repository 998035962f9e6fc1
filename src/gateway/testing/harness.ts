/** A gateway over fake nodes, listening on a port of its own. */
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { createHash } from 'node:crypto';
import { request } from 'undici';
import { silent } from '../../lib/logger.ts';
import { createMux, dialWs, type Mux } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { buildApp } from '../app.ts';
import type { GatewayConfig } from '../config.ts';
import type { Door } from '../doors/door.ts';
import { createNativeDoor, nativeRoutes } from '../doors/native/door.ts';
import { openShared, type SharedTimes } from '../redis/shared-state.ts';
import { startServices, type RunningServices } from '../services.ts';
import { Documented } from './documented.ts';
import { FakeNode } from './fake-node.ts';

export const KEY = 'key of the tests';
export const OTHER_KEY = 'key of somebody else';
const WAIT_MS = 20_000;

const keyOf = (tenant: string, key: string, admin: boolean) => ({
  tenant,
  admin,
  sha256: createHash('sha256').update(key).digest(),
});

export const TEST_CONFIG: GatewayConfig = {
  listen: { host: '127.0.0.1', port: 0 },
  nodes: [],
  nodeSecret: 'secret of the tests',
  keys: [keyOf('default', KEY.replaceAll(' ', '-'), true), keyOf('other', OTHER_KEY.replaceAll(' ', '-'), false)],
  defaultImage: null,
  nodeGraceMs: 60_000,
  linkPatienceMs: 10_000,
  resumeMs: 10_000,
  drainMs: 10_000,
  queueMax: 1_000,
  queueWaitMs: 60_000,
  previewDomain: 'preview.test',
  logLevel: 'silent',
};

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Parsed if it is JSON. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into answers of every form
  json: any;
  bytes: Buffer;
}

export interface RequestOptions {
  body?: unknown;
  raw?: Buffer | string | AsyncIterable<Uint8Array>;
  headers?: Record<string, string>;
  /** Null: none. */
  key?: string | null;
  signal?: AbortSignal;
}

export class TestGateway implements AsyncDisposable {
  readonly app: FastifyInstance;
  readonly services: RunningServices;
  readonly nodes: readonly FakeNode[];
  readonly url: string;
  readonly #doors: readonly Door[];
  readonly #documented: Documented;
  readonly #muxes: Mux[] = [];

  private constructor(parts: {
    app: FastifyInstance;
    services: RunningServices;
    nodes: readonly FakeNode[];
    doors: readonly Door[];
  }) {
    this.app = parts.app;
    this.services = parts.services;
    this.nodes = parts.nodes;
    this.#doors = parts.doors;
    this.#documented = new Documented(nativeRoutes(parts.services));
    this.url = `http://127.0.0.1:${(parts.app.server.address() as AddressInfo).port}`;
  }

  static async start(
    nodes: readonly FakeNode[] = [new FakeNode()],
    changes: Partial<GatewayConfig> = {},
    more: readonly Door[] = [],
    times: SharedTimes = {},
  ): Promise<TestGateway> {
    const addresses = nodes.map(({ url }) => ({ name: null, url }));
    const config = { ...TEST_CONFIG, nodes: addresses, ...changes };
    const byUrl = new Map(nodes.map((node) => [node.url, node]));
    const services = startServices(config, {
      log: silent,
      dial: (address) => () => byUrl.get(address.url)?.dial() ?? Promise.reject(new Error('no such node')),
      shared: await openShared(config, silent, times),
    });
    const doors = [createNativeDoor(), ...more];
    const app = await buildApp(services, config, doors);
    await app.listen({ host: '127.0.0.1', port: 0 });
    const gateway = new TestGateway({ app, services, nodes, doors });
    await gateway.until('all nodes are up', () =>
      gateway.services.registry.all.every((node, i) => node.up || nodes[i]?.offline === true),
    );
    return gateway;
  }

  get node(): FakeNode {
    const [first] = this.nodes;
    if (first === undefined) throw new Error('there is no node');
    return first;
  }

  /** @throws Error also when the answer differs from the OpenAPI document. */
  async ask(method: string, path: string, asking: RequestOptions = {}): Promise<Answer> {
    const key = asking.key === undefined ? KEY : asking.key;
    const response = await request(this.url + path, {
      method: method as 'GET',
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key.replaceAll(' ', '-')}` }),
        ...(asking.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...asking.headers,
      },
      body: (asking.body === undefined ? (asking.raw ?? null) : JSON.stringify(asking.body)) as never,
      headersTimeout: 0,
      bodyTimeout: 0,
      ...(asking.signal === undefined ? {} : { signal: asking.signal }),
    });
    const bytes = Buffer.from(await response.body.arrayBuffer());
    const isJson = String(response.headers['content-type'] ?? '').startsWith('application/json');
    // A HEAD answer never has a body, whatever its headers say.
    const json: unknown = isJson && method !== 'HEAD' ? JSON.parse(bytes.toString()) : undefined;
    if (method !== 'HEAD') this.#documented.check(method, path, response.statusCode, json);
    return { status: response.statusCode, headers: response.headers, bytes, json };
  }

  /** Creates a running sandbox and returns its id. */
  async sandbox(body: object = {}): Promise<string> {
    const { json } = await this.ask('POST', '/v1/sandboxes?waitMs=20000', { body });
    if (json.status !== 'RUNNING') throw new Error(`the sandbox is ${JSON.stringify(json)}`);
    return json.id as string;
  }

  exec(id: string, script: unknown, more: RequestOptions & { fields?: object } = {}): Promise<Answer> {
    const { fields, ...asking } = more;
    const command = typeof script === 'string' ? script : JSON.stringify(script);
    return this.ask('POST', `/v1/sandboxes/${id}/exec`, { body: { command, ...fields }, ...asking });
  }

  /** A client's WebSocket. */
  async ws(
    options: { key?: string; onGoaway?: () => void; onClose?: (error: Error | null) => void } = {},
  ): Promise<Mux> {
    const transport = await dialWs(`${this.url.replace('http', 'ws')}/v1/ws`, {
      subprotocol: 'millibox.v1',
      headers: { authorization: `Bearer ${(options.key ?? KEY).replaceAll(' ', '-')}` },
      deadlineMs: WAIT_MS,
    });
    const mux = createMux({
      transport,
      role: 'dialler',
      hello: { generation: 1 },
      onHello: () => undefined,
      ...(options.onGoaway === undefined ? {} : { onGoaway: options.onGoaway }),
      ...(options.onClose === undefined ? {} : { onClose: options.onClose }),
    });
    this.#muxes.push(mux);
    return mux;
  }

  /**
   * Waits until the condition holds; one that throws a retryable error does not hold yet. @throws Error that names what did not
   * happen.
   */
  async until(what: string, condition: () => boolean): Promise<void> {
    const end = performance.now() + WAIT_MS;
    const holds = (): boolean => {
      try {
        return condition();
      } catch (error) {
        if (error instanceof ServiceError && error.retryable) return false;
        throw error;
      }
    };
    while (!holds()) {
      if (performance.now() > end) throw new Error(`${what}: not within ${WAIT_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const mux of this.#muxes) mux.close();
    for (const door of this.#doors) door.close?.();
    await this.app.close();
    await this.services.stop();
  }
}
