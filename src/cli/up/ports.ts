import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below the ports that Linux assigns to outgoing connections (32768 and up), so that a port found free is still free when
 * a server comes to listen there.
 */
const FIRST = 20_000;
const LAST = 32_767;
const TRIES = 50;

/** A port that is free now. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const port = randomInt(FIRST, LAST + 1);
    if (await isFree(port, host)) return port;
  }
  throw new Error(`no free port on ${host}`);
}

/** Whether somebody can listen there now. */
export const isFree = async (port: number, host: string): Promise<boolean> =>
  (await inTheWay(port, host)) === undefined;

/** Why nobody can listen there now, as the system's code for it; undefined: somebody can. */
export async function inTheWay(port: number, host: string): Promise<string | undefined> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}
