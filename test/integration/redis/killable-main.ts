/**
 * A gateway in its own process: see killable.ts, which sends its configuration over IPC and is told where it listens.
 */
import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { buildApp } from '../../../src/gateway/app.ts';
import { createNativeDoor } from '../../../src/gateway/doors/native/door.ts';
import { createPrimeDoor } from '../../../src/gateway/doors/prime/door.ts';
import { openShared } from '../../../src/gateway/redis/shared-state.ts';
import { startServices } from '../../../src/gateway/services.ts';
import { parseTenants } from '../../../src/gateway/tenants/file.ts';
import { TEST_CONFIG } from '../../../src/gateway/testing/harness.ts';
import { silent } from '../../../src/lib/logger.ts';
import { socketTransport } from '../../../src/mux/index.ts';
import { NodeHello } from '../../../src/protocol/node.ts';
import type { Orders } from './killable.ts';

process.once('disconnect', () => process.exit());
const [orders] = (await once(process, 'message')) as [Orders];
const config = {
  ...TEST_CONFIG,
  redisUrl: orders.redisUrl,
  tenants: parseTenants(orders.tenants),
  nodes: Object.keys(orders.nodes).map((url) => ({ name: null, url })),
};
const services = startServices(config, {
  log: silent,
  dial:
    ({ url }) =>
    async () => {
      const socket = connect({ path: orders.nodes[url] ?? '' });
      await once(socket, 'connect');
      return { transport: socketTransport(socket), checkHello: (hello) => NodeHello.parse(hello) };
    },
  shared: await openShared(config, silent),
});
const app = await buildApp(services, config, [createNativeDoor(), createPrimeDoor()]);
await app.listen({ host: '127.0.0.1', port: 0 });
process.send?.(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`);
