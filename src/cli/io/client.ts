import type { Command } from 'commander';
import { Millibox } from '../../sdk/index.ts';
import { connection } from '../config.ts';

/** A client for what the global options, the environment or a local `up` name. The caller closes it. */
export function connect(command: Command): Millibox {
  const { url, apiKey } = command.optsWithGlobals<{ url?: string; apiKey?: string }>();
  const { apiKey: key, ...rest } = connection({ url, apiKey });
  return new Millibox({ ...rest, ...(key === undefined ? {} : { apiKey: key }) });
}
