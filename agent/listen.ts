/** Listening on and closing servers, as promises. */
import { chmodSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type http from 'node:http';
import type net from 'node:net';
import { MAX_SOCKET_PATH_BYTES } from '../src/lib/socket-path.ts';
import { ServiceError } from '../src/protocol/errors.ts';

/** @throws the error of `listen`, such as EADDRINUSE. */
export async function listen(server: net.Server, where: net.ListenOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(where, resolve);
  await promise;
  server.off('error', reject);
}

/**
 * Listens on a unix socket that only this user can connect to. A socket left by a killed agent is replaced.
 * @throws ServiceError `invalid_request` if the path is too long, or what `listen` throws.
 */
export async function bindSocketFile(
  server: net.Server,
  path: string,
  options: { backlog?: number } = {},
): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    const most = MAX_SOCKET_PATH_BYTES;
    throw new ServiceError(
      'invalid_request',
      `the socket path ${path} is longer than ${most} bytes: give the agent a shorter directory (MILLIBOX_DATA_DIR)`,
    );
  }
  await rm(path, { force: true });
  await listen(server, { path, ...options });
  chmodSync(path, 0o600);
}

/** Closes all connections and resolves once none is open; at once for a server that never listened. */
export async function closeServer(server: http.Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}
