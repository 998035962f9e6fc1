/** Clients of the service. They are loaded on first use, since help and usage errors do not need them. */
import type { Command } from 'commander';
import type { Millibox } from '../../sdk/index.ts';
import type { Operator } from './operator.ts';
import { target } from './target.ts';

/** A client for the service named by the global options, the environment or a local `up`. The caller closes it. */
export async function connect(command: Command): Promise<Millibox> {
  const { Millibox } = await import('../../sdk/index.ts');
  const { url, apiKey } = target(command);
  return new Millibox({ url, ...(apiKey === undefined ? {} : { apiKey }) });
}

/** The same for the operators' part of the API. */
export async function operate(command: Command): Promise<Operator> {
  const { Operator } = await import('./operator.ts');
  return new Operator(target(command));
}
