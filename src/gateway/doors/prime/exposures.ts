/**
 * Exposed ports of sandboxes: over HTTP at a URL that nobody can guess, over TCP at a port of this gateway. They exist
 * only on this gateway, which their addresses point to, until they are removed or their sandbox ends.
 */
import { ServiceError } from '../../../protocol/errors.ts';
import { newRequestId } from '../../../protocol/ids.ts';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { isEnded } from '../../../protocol/sandbox.ts';
import type { Services } from '../../services.ts';
import type { TcpPort, TcpPorts } from './tcp-ports.ts';

const MAX_EXPOSED = 10_000;
/** So that one sandbox cannot use up the total. */
const MAX_OF_SANDBOX = 32;

export type Protocol = 'HTTP' | 'TCP';

export interface Exposure {
  id: string;
  tenant: string;
  sandbox: string;
  port: number;
  name: string | null;
  createdAt: string;
  /** In the path of its URL, for HTTP. */
  token: string | null;
  /** The port of this gateway, for TCP. */
  tcp: TcpPort | null;
}

type ExposeRequest = Pick<Exposure, 'tenant' | 'sandbox' | 'port' | 'name'>;

export class Exposures {
  readonly #services: Services;
  readonly #tcp: TcpPorts | null;
  readonly #byId = new Map<string, Exposure>();
  readonly #bySandbox = new Map<string, Set<Exposure>>();
  readonly #tokens = new Set<string>();
  /** By tenant: the subscription to its sandboxes, and how many of its ports are exposed. */
  readonly #watches = new Map<string, { exposed: number; leave: () => void }>();
  #closed = false;

  /** @param tcp null: ports cannot be exposed over TCP. */
  constructor(services: Services, tcp: TcpPorts | null) {
    this.#services = services;
    this.#tcp = tcp;
  }

  /** @throws ServiceError `sandbox_…`, `rate_limited`; for TCP `not_supported`, `capacity_exhausted` */
  async add(asked: ExposeRequest, protocol: Protocol): Promise<Exposure> {
    this.#assertRoom(asked);
    const made = { ...asked, id: newRequestId().replace('req-', 'exp-'), createdAt: new Date().toISOString() };
    if (protocol === 'HTTP') return this.#keep({ ...made, token: this.#tokenFor(asked), tcp: null });
    if (this.#tcp === null) {
      throw new ServiceError(
        'not_supported',
        'this server exposes ports over HTTP and WebSocket only; its operator can enable TCP with MILLIBOX_PRIME_TCP_PORTS',
      );
    }
    const { ports } = this.#services;
    const tcp = await this.#tcp.open((signal) => ports.connect(asked.tenant, asked.sandbox, asked.port, signal));
    try {
      // Check again: the sandbox may have ended meanwhile, or other ports been exposed.
      this.#assertRoom(asked);
      return this.#keep({ ...made, token: null, tcp });
    } catch (error) {
      tcp.close();
      throw error;
    }
  }

  /** @throws ServiceError `not_found` */
  remove(tenant: string, sandbox: string, id: string): void {
    const found = this.#byId.get(id);
    if (found === undefined || found.tenant !== tenant || found.sandbox !== sandbox) {
      throw new ServiceError('not_found', 'there is no such exposed port');
    }
    this.#drop(found);
  }

  /** The exposed ports of one sandbox, or of all the tenant's. */
  list(tenant: string, sandbox: string | null): Exposure[] {
    const all = sandbox === null ? this.#byId.values() : (this.#bySandbox.get(sandbox) ?? []);
    return [...all].filter((each) => each.tenant === tenant);
  }

  /** Whether the URL with this token is still exposed. */
  has(token: string): boolean {
    return this.#tokens.has(token);
  }

  /** Removes all of them. */
  close(): void {
    this.#closed = true;
    for (const each of [...this.#byId.values()]) this.#drop(each);
  }

  #assertRoom({ tenant, sandbox }: ExposeRequest): void {
    if (this.#closed) throw new ServiceError('draining');
    if (isEnded(this.#services.sandboxes.get(tenant, sandbox).status)) throw new ServiceError('sandbox_ended');
    if ((this.#bySandbox.get(sandbox)?.size ?? 0) >= MAX_OF_SANDBOX) {
      throw new ServiceError('rate_limited', `a sandbox can have at most ${MAX_OF_SANDBOX} exposed ports`);
    }
    if (this.#byId.size >= MAX_EXPOSED) throw new ServiceError('rate_limited', 'too many ports are exposed');
  }

  #tokenFor({ tenant, sandbox, port }: ExposeRequest): string {
    const { tokens } = this.#services.ports;
    return tokens.issue({ tenant, sandbox, port, expiresAtMs: tokens.now() + MAX_TIMEOUT_MS });
  }

  #keep(made: Exposure): Exposure {
    this.#byId.set(made.id, made);
    if (made.token !== null) this.#tokens.add(made.token);
    const others = this.#bySandbox.get(made.sandbox);
    if (others === undefined) this.#bySandbox.set(made.sandbox, new Set([made]));
    else others.add(made);
    this.#watch(made.tenant);
    return made;
  }

  #watch(tenant: string): void {
    const watch = this.#watches.get(tenant);
    if (watch !== undefined) {
      watch.exposed += 1;
      return;
    }
    const leave = this.#services.sandboxes.subscribe(tenant, ({ id, status }) => {
      if (isEnded(status)) for (const each of this.#bySandbox.get(id) ?? []) this.#drop(each);
    });
    this.#watches.set(tenant, { exposed: 1, leave });
  }

  #unwatch(tenant: string): void {
    const watch = this.#watches.get(tenant);
    if (watch === undefined || --watch.exposed > 0) return;
    watch.leave();
    this.#watches.delete(tenant);
  }

  #drop(each: Exposure): void {
    if (!this.#byId.delete(each.id)) return;
    each.tcp?.close();
    const others = this.#bySandbox.get(each.sandbox) ?? new Set();
    others.delete(each);
    if (others.size === 0) this.#bySandbox.delete(each.sandbox);
    // Two exposures of a port within one millisecond share a token.
    const { token } = each;
    if (token !== null && ![...others].some((other) => other.token === token)) this.#tokens.delete(token);
    this.#unwatch(each.tenant);
  }
}
