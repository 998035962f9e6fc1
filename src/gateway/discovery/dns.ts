/** Nodes by DNS names, which are resolved periodically. */
import { Resolver } from 'node:dns/promises';
import { background } from '../../lib/background.ts';
import { pause, withDeadline } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import type { NodeAddress } from '../config.ts';
import type { DnsConfig, DnsName, Family } from './config.ts';
import { keyOf, nodeUrl, type Discovery, type Publish } from './discovery.ts';

export interface DnsOptions extends DnsConfig {
  family: Family;
  log: Logger;
}

/** A node is gone once it is missing from this many answers in a row: some servers return only part of the records. */
const MISSES = 3;
const ROUND_DEADLINE_MS = 20_000;
const QUERY_MS = 3_000;
const QUERY_TRIES = 2;
/** Records of one name; no sensible answer has more. */
const MAX_RECORDS = 10_000;
/** Error codes of an authoritative empty answer. All others are failures to resolve. */
const NOTHING = new Set(['ENODATA', 'ENOTFOUND']);

export class DnsDiscovery implements Discovery {
  readonly #options: DnsOptions;
  readonly #names: { name: DnsName; memory: Memory; failing: boolean }[];
  readonly #stopping = new AbortController();
  #running: Promise<void> | null = null;

  constructor(options: DnsOptions) {
    this.#options = options;
    this.#names = options.names.map((name) => ({ name, memory: new Memory(), failing: false }));
  }

  start(publish: Publish): void {
    this.#running ??= this.#run(publish);
    background(this.#running, 'resolve names', this.#options.log);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running?.catch(() => undefined);
  }

  async #run(publish: Publish): Promise<void> {
    const { signal } = this.#stopping;
    const { intervalMs } = this.#options;
    while (!signal.aborted) {
      await Promise.all(this.#names.map((each) => this.#ask(each, signal)));
      if (signal.aborted) return;
      if (this.#names.some(({ memory }) => memory.answered)) {
        const nodes = new Map(this.#names.flatMap(({ memory }) => memory.nodes.map((node) => [keyOf(node), node])));
        publish(
          [...nodes.values()].map((node) => ({ ...node, standing: 'in', reason: null })),
          this.#names.every(({ memory }) => memory.answered),
        );
      }
      // Jitter, so that gateways that started together do not keep asking at the same time.
      await pause(intervalMs * (0.9 + Math.random() * 0.2), signal);
    }
  }

  async #ask(each: { name: DnsName; memory: Memory; failing: boolean }, signal: AbortSignal): Promise<void> {
    const { servers, family, log } = this.#options;
    // A new resolver each time: the machine's configuration may have changed.
    const resolver = new Resolver({ timeout: QUERY_MS, tries: QUERY_TRIES });
    try {
      if (servers.length > 0) resolver.setServers([...servers]);
      const options = { signal, deadlineMs: ROUND_DEADLINE_MS, what: 'a name' };
      each.memory.take(await withDeadline(options, () => resolve(resolver, each.name, family)));
      if (each.failing) log.info({ name: each.name.host }, 'name resolves again');
      each.failing = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!each.failing) log.warn({ err: error, name: each.name.host }, 'name does not resolve: its nodes are kept');
      each.failing = true;
    } finally {
      resolver.cancel();
    }
  }
}

/** The nodes of one name, derived from its recent answers. */
export class Memory {
  #entries = new Map<string, { node: NodeAddress; misses: number }>();
  answered = false;

  get nodes(): NodeAddress[] {
    return [...this.#entries.values()].map(({ node }) => node);
  }

  take(nodes: readonly NodeAddress[]): void {
    this.answered = true;
    for (const entry of this.#entries.values()) entry.misses += 1;
    for (const node of nodes) this.#entries.set(keyOf(node), { node, misses: 0 });
    for (const [key, { misses }] of this.#entries) if (misses >= MISSES) this.#entries.delete(key);
  }
}

async function resolve(resolver: Resolver, name: DnsName, family: Family): Promise<NodeAddress[]> {
  if (name.type === 'address') {
    const addresses = await addressesOf(resolver, name.host, family);
    return addresses.map((address) => ({ name: null, url: nodeUrl(address, name.port) }));
  }
  const services = bounded(await orNothing(resolver.resolveSrv(name.host)));
  const targets = await Promise.all(
    services.map(async (service): Promise<NodeAddress[]> => {
      const [address] = await addressesOf(resolver, service.name, family);
      if (address === undefined) return [];
      return [{ id: `${service.name}:${service.port}`, name: null, url: nodeUrl(address, service.port) }];
    }),
  );
  return targets.flat();
}

/** Addresses of one family only: two addresses of one agent would look like two nodes of one name. */
async function addressesOf(resolver: Resolver, host: string, family: Family): Promise<string[]> {
  const four = family === '6' ? [] : await orNothing(resolver.resolve4(host));
  if (four.length > 0 || family === '4') return bounded(four);
  return bounded(await orNothing(resolver.resolve6(host)));
}

function bounded<T>(records: T[]): T[] {
  if (records.length > MAX_RECORDS) throw new Error(`more than ${MAX_RECORDS} records`);
  return records;
}

async function orNothing<T>(query: Promise<T[]>): Promise<T[]> {
  try {
    return await query;
  } catch (error) {
    if (NOTHING.has((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
