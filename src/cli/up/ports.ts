import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below the ports that Linux assigns to outgoing connections (32768 and up), so that a free port is still free when a
 * server starts to listen there.
 */
export const SERVER_PORTS = { first: 20_000, last: 32_767 };
const TRIES = 50;
/** How many given-out ports this process remembers: a recipient may not listen yet. */
const MAX_GIVEN = 1_000;
const given = new Set<number>();

/** A port that is free now, and was not given out before. */
export async function freePort(host = '127.0.0.1', { first, last } = SERVER_PORTS): Promise<number> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const port = randomInt(first, last + 1);
    if (given.has(port) || !(await isFree(port, host)) || given.has(port)) continue;
    if (given.size >= MAX_GIVEN) given.clear();
    given.add(port);
    return port;
  }
  throw new Error(`no free port on ${host}`);
}

/** Whether a server can listen there now. */
export const isFree = async (port: number, host: string): Promise<boolean> =>
  (await inTheWay(port, host)) === undefined;

/** Why no server can listen there now, as the system's error code; undefined: one can. */
export async function inTheWay(port: number, host: string): Promise<string | undefined> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}
