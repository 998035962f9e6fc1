/** Several gateways over the same fake nodes and one Redis, with timeouts short enough for tests. */
import type { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { TestGateway, type Answer } from '../../../src/gateway/testing/harness.ts';
import type { GatewayConfig } from '../../../src/gateway/config.ts';
import type { RedisServer } from '../../helpers/redis.ts';

/** A lock expires soon, so that a test need not wait; long enough for a busy machine to keep one. */
export const TIMES = { lockMs: 4_000, leaseMs: 3_000, commandMs: 1_000, orphanedMs: 2_000 };

interface Joining {
  withRedis?: boolean;
  nodes?: readonly FakeNode[];
  config?: Partial<GatewayConfig>;
}

/** Creates a sandbox, or with `count` several. */
export const create = (gateway: TestGateway, key?: string, body: object = {}): Promise<Answer> =>
  gateway.ask('POST', '/v1/sandboxes', {
    body,
    ...(key === undefined ? {} : { headers: { 'idempotency-key': key } }),
  });

let database = 0;

/** A node as seen by a gateway that cannot reach it until `found`. */
export function unseen(node: FakeNode): { node: FakeNode; found(): void } {
  let found = false;
  const dial: FakeNode['dial'] = () => (found ? node.dial() : Promise.reject(new Error('no route')));
  const view = Object.create(node, { dial: { value: dial }, offline: { get: () => !found } }) as FakeNode;
  return { node: view, found: () => void (found = true) };
}

export class Gateways implements AsyncDisposable {
  readonly all: TestGateway[] = [];
  readonly nodes: readonly FakeNode[];
  readonly config: Partial<GatewayConfig>;

  private constructor(nodes: readonly FakeNode[], config: Partial<GatewayConfig>) {
    this.nodes = nodes;
    this.config = config;
  }

  /** Each test has its own database. */
  static async start(
    redis: RedisServer,
    count: number,
    nodes: readonly FakeNode[],
    config: Partial<GatewayConfig> = {},
  ): Promise<Gateways> {
    database = (database + 1) % 16;
    const gateways = new Gateways(nodes, { redisUrl: redis.url(database), ...config });
    for (let i = 0; i < count; i++) await gateways.add();
    return gateways;
  }

  /** @param config the settings in which it differs from the others */
  async add({ withRedis = true, nodes = this.nodes, config = {} }: Joining = {}): Promise<TestGateway> {
    const gateway = await TestGateway.start(nodes, { ...this.config, ...config }, [], TIMES);
    this.all.push(gateway);
    if (withRedis) await this.redisIs(true, gateway);
    return gateway;
  }

  /** One that reaches Redis over this link, and so can be without it while the others have it. */
  async addBehind(link: { readonly port: number }, joining: Joining = {}): Promise<TestGateway> {
    const url = new URL(this.config.redisUrl ?? '');
    url.port = String(link.port);
    return await this.add({ ...joining, config: { ...joining.config, redisUrl: url.href } });
  }

  /** Ends one, and starts another in its place. */
  async replace(index: number): Promise<void> {
    await this.at(index)[Symbol.asyncDispose]();
    this.all.splice(index, 1);
    await this.add({ withRedis: false });
  }

  at(index: number): TestGateway {
    const gateway = this.all[index];
    if (gateway === undefined) throw new Error(`no gateway ${index}`);
    return gateway;
  }

  async redisIs(up: boolean, ...gateways: TestGateway[]): Promise<void> {
    for (const gateway of gateways.length > 0 ? gateways : this.all) {
      await gateway.until(`redis is ${up ? 'there' : 'away'}`, () => gateway.services.shared.up === up);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gateway of this.all) await gateway[Symbol.asyncDispose]();
  }
}
