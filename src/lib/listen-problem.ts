/** Why a server cannot listen where its settings say, in words for who starts it. */
import { hostPort } from './host-port.ts';

const REASONS: Record<string, string> = {
  EADDRINUSE: 'another process listens there',
  EACCES: 'this user may not listen there; ports below 1024 are for root',
  EADDRNOTAVAIL: 'no interface of this machine has that address',
};

/**
 * @param setting the environment variable that says where to listen.
 * @returns undefined if the error has nothing to do with listening.
 */
export function listenProblem(error: unknown, setting: string): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { syscall, code = '', address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (syscall !== 'listen' || address === undefined) return undefined;
  const where = port === undefined || port < 0 ? address : hostPort(address, port);
  return `cannot listen on ${where}: ${REASONS[code] ?? code} (set by ${setting})`;
}
