/**
 * The network of sandboxes with `internet`: a bridge owned by this agent, on which they are isolated from each other,
 * and from which neither the host nor a private network (including cloud metadata) can be reached.
 */
import type Docker from 'dockerode';
import { withDeadline } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { runTool } from '../../run-tool.ts';
import { RulesGuard } from '../oci/network/rules-guard.ts';
import { NOT_PUBLIC } from '../oci/network/rules.ts';
import { OWNER_LABEL } from './create-options.ts';
import { dockerError, statusOf } from './docker-errors.ts';

const CALL_MS = 30_000;
const NFT_MS = 10_000;

/** Time within which removed rules are restored. */
const LOOK_EVERY_MS = 10_000;

interface InternetOptions {
  docker: Docker;
  owner: string;
  /** Overridden in tests. */
  lookEveryMs?: number;
  log: Logger;
}

export class Internet {
  readonly #docker: Docker;
  readonly #owner: string;
  readonly #log: Logger;
  readonly #name: string;
  /** At most 15 characters, the limit for interface names. */
  readonly #bridge: string;
  readonly #guard: RulesGuard;
  #ready: Promise<string> | null = null;
  /** The network or its rules may exist. */
  #inUse = false;

  constructor({ docker, owner, lookEveryMs = LOOK_EVERY_MS, log }: InternetOptions) {
    this.#docker = docker;
    this.#owner = owner;
    this.#log = log;
    this.#name = `millibox-${owner.slice(0, 12)}`;
    this.#bridge = `mbx${owner.slice(0, 10)}`;
    this.#guard = new RulesGuard({
      table: this.#table,
      bridge: this.#bridge,
      texts: ['ct state invalid drop'],
      uplinkPid: undefined,
      everyMs: lookEveryMs,
      rebuild: () => nft(this.#rules()),
      // Docker accepts traffic from its own networks.
      letThrough: () => Promise.resolve(),
      log,
    });
  }

  /**
   * If an earlier agent made the network, its sandboxes may be using it now, whatever happened to the rules meanwhile:
   * recreates and guards them. Never rejects: if they cannot be set, the guard keeps trying.
   */
  async resume(): Promise<void> {
    if (!(await this.#exists())) return;
    this.#inUse = true;
    this.#guard.start();
    await nft(this.#rules()).catch((error: unknown) => {
      this.#log.error({ err: error }, 'the firewall rules of the sandbox network cannot be created');
    });
  }

  /** The network's name, with its rules in place; creates the network if it does not exist. @throws ServiceError. */
  async ready(): Promise<string> {
    const before = this.#ready;
    if (before === null) return await this.#begin();
    const name = await before;
    if (await this.#exists()) {
      await this.#guard.check();
      return name;
    }
    // An unused network is removed when somebody prunes networks. The first call to find it gone recreates it.
    return await (this.#ready === before ? this.#begin() : this.ready());
  }

  #begin(): Promise<string> {
    const made = this.#make().catch((error: unknown) => {
      this.#ready = null;
      throw error;
    });
    this.#ready = made;
    return made;
  }

  /** Removes the network unless containers use it. */
  async close(): Promise<void> {
    await this.#guard.close();
    if (!this.#inUse) return;
    try {
      await withDeadline({ deadlineMs: CALL_MS }, () => this.#docker.getNetwork(this.#name).remove());
    } catch (error) {
      // Sandboxes that continue are still using it, and so will the next agent.
      if (statusOf(error) !== 404) return this.#log.debug({ err: error }, 'the sandbox network could not be removed');
    }
    await nft(`delete table inet ${this.#table}\n`).catch((error: unknown) => {
      this.#log.debug({ err: error }, 'the firewall rules of the sandbox network are already gone');
    });
  }

  get #table(): string {
    return `millibox_${this.#owner.slice(0, 12)}`;
  }

  /** Also true if it cannot be determined. */
  async #exists(): Promise<boolean> {
    try {
      await withDeadline({ deadlineMs: CALL_MS }, () => this.#docker.getNetwork(this.#name).inspect());
    } catch (error) {
      if (statusOf(error) === 404) return false;
      this.#log.warn({ err: error }, 'the sandbox network cannot be inspected');
    }
    return true;
  }

  async #make(): Promise<string> {
    this.#inUse = true;
    await nft(this.#rules());
    this.#guard.start();
    try {
      await withDeadline({ deadlineMs: CALL_MS, what: 'the creation of a network' }, () =>
        this.#docker.createNetwork({
          Name: this.#name,
          Driver: 'bridge',
          Labels: { [OWNER_LABEL]: this.#owner },
          Options: {
            'com.docker.network.bridge.name': this.#bridge,
            'com.docker.network.bridge.enable_icc': 'false',
          },
        }),
      );
    } catch (error) {
      // 409: an earlier agent created it.
      if (statusOf(error) !== 409) throw dockerError(error, 'the creation of a network', this.#log);
    }
    return this.#name;
  }

  /**
   * Rules that run before Docker's own, which allow all outgoing traffic. Replies to connections from inside pass.
   * Packet options may name routers on the way; a packet that connection tracking does not understand would keep its
   * private address.
   */
  #rules(): string {
    const from = `iifname "${this.#bridge}"`;
    return `
table inet ${this.#table}
delete table inet ${this.#table}
table inet ${this.#table} {
  chain forward {
    type filter hook forward priority -10; policy accept;
    ${from} ip daddr { ${NOT_PUBLIC.join(', ')} } drop
    ${from} meta nfproto ipv6 drop
    ${from} ip hdrlength > 5 drop
    ${from} ct state invalid drop
  }
  chain input {
    type filter hook input priority -10; policy accept;
    ${from} drop
  }
}
`;
  }
}

/** @throws ServiceError `not_supported` if the rules cannot be set: without them, sandboxes could reach the host. */
async function nft(rules: string): Promise<void> {
  try {
    await runTool('nft', ['-f', '-'], { deadlineMs: NFT_MS, input: rules });
  } catch (error) {
    // Its message contains nft's output.
    throw new ServiceError('not_supported', 'network "internet" needs nftables on the node', { cause: error });
  }
}
