import type { Command } from 'commander';
import { Millibox } from '../../sdk/index.ts';
import { target } from './target.ts';

/** A client for what the global options, the environment or a local `up` name. The caller closes it. */
export function connect(command: Command): Millibox {
  const { url, apiKey } = target(command);
  return new Millibox({ url, ...(apiKey === undefined ? {} : { apiKey }) });
}
