/** Puts a proxy between the agent and a sandbox's boxinit, whose link is a unix socket in the container's home. */
import { once } from 'node:events';
import { readdirSync, renameSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { readIfThereSync } from '../../src/lib/whole-file.ts';
import { FrameType, encodeFrame } from '../../src/protocol/frames.ts';
import { CutProxy, type CutProxyOptions } from './cut-proxy.ts';
import type { TestStack } from './stack.ts';
import { until } from './until.ts';

const SOCKET = 'agent.sock';
const WAIT_MS = 60_000;

/** For a service with one node and one sandbox. @param plan as of the proxy */
export async function tapBoxinit(stack: TestStack, plan: CutProxyOptions['plan']): Promise<CutProxy> {
  const { run, token } = claimedHome(join(stack.home, 'node-1', 'c'));
  const moved = join(run, 'moved.sock');
  renameSync(join(run, SOCKET), moved);
  const proxy = await CutProxy.listen({ path: join(run, SOCKET), target: { path: moved }, plan });
  await displace(moved, token);
  await until(() => proxy.connections > 0, WAIT_MS, 'boxinit to call through the proxy');
  return proxy;
}

/** The one container that belongs to a sandbox: its file says so after its first line. */
function claimedHome(root: string): { run: string; token: string } {
  for (const id of readdirSync(root)) {
    // A container being created or removed may have no file.
    const [first = '', ...rest] = (readIfThereSync(join(root, id, 'meta.json')) ?? '').split('\n');
    if (!rest.some((line) => line !== '')) continue;
    return { run: join(root, id, 'run'), token: (JSON.parse(first) as { token: string }).token };
  }
  throw new Error(`no container in ${root} has been claimed`);
}

/**
 * Connects to the agent as boxinit would: the agent drops its current connection, and boxinit reconnects, now through
 * the proxy. Resolves once it has.
 */
async function displace(path: string, token: string): Promise<void> {
  const socket = connect(path);
  socket.on('error', () => undefined);
  const hello = { generation: 1, token, version: 'test', pid: 1, blank: false };
  const payload = Buffer.from(JSON.stringify(hello));
  socket.write(encodeFrame({ type: FrameType.HELLO, flags: 0, channel: 0, stream: 0, payload }));
  socket.resume();
  await once(socket, 'close');
}
