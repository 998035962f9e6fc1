import type { Command } from 'commander';
import { connection, type Connection } from '../config.ts';

/** The service named by the global options, the environment or a local `up`. */
export function target(command: Command): Connection {
  const { url, apiKey } = command.optsWithGlobals<{ url?: string; apiKey?: string }>();
  return connection({ url, apiKey });
}
