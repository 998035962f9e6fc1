import type { Command } from 'commander';
import { Millibox } from '../../sdk/index.ts';
import { connection, type Connection } from '../config.ts';
import { Operator } from './operator.ts';

/** A client for what the global options, the environment or a local `up` name. The caller closes it. */
export function connect(command: Command): Millibox {
  const { apiKey: key, ...rest } = target(command);
  return new Millibox({ ...rest, ...(key === undefined ? {} : { apiKey: key }) });
}

/** The operator's half of the API, for the same service. */
export const operator = (command: Command): Operator => new Operator(target(command));

function target(command: Command): Connection {
  const { url, apiKey } = command.optsWithGlobals<{ url?: string; apiKey?: string }>();
  return connection({ url, apiKey });
}
