/**
 * Restores the firewall rules while sandboxes depend on them: a firewall reload removes them, or empties their table,
 * which would open everything.
 */
import type { Logger } from '../../../../src/lib/logger.ts';
import { Coprocess } from '../coprocess.ts';
import { inNetworkOf, IPTABLES } from './tools.ts';

const DEADLINE_MS = 20_000;

/**
 * Prints what is missing: our table, or one of the texts in it; our rules in Docker's chain, if that exists; or the way
 * out, if connections were accepted but none has left. `$0` is the table, `$1` the bridge, the others are the texts.
 */
const SCRIPT = `
bridge=$1; shift
has() { case $told in *"$1"*) ;; *) return 1 ;; esac; }
whole() { for each; do has "$each" || return 1; done; }
accepts() { $1 -w -C DOCKER-USER "$2" "$3" -j ACCEPT; }
speaks() { ! $1 -w -S DOCKER-USER || { accepts $1 -i "$2" && accepts $1 -o "$2"; }; }
words() { for each in $(${IPTABLES}); do speaks $each "$1" || return 1; done; }
packets() { rest=\${told#*counter $1 }; rest=\${rest#*packets }; echo \${rest%% *}; }
while read -r _; do
  told=$(nft -t list table inet "$0" 2>/dev/null)
  if ! whole 'chain forward' "$@"; then echo table
  elif ! words "$bridge" >/dev/null 2>&1; then echo words
  elif [ "$(packets asked)" != 0 ] && [ "$(packets left)" = 0 ]; then echo way
  else echo; fi
done`;

interface RulesGuardOptions {
  table: string;
  bridge: string;
  /** Of rules, as nftables shows them: without these, the table is not whole. */
  texts: readonly string[];
  uplinkPid: number | undefined;
  everyMs: number;
  /** Sets up the whole table after it was removed. Resets its counters. */
  rebuild(): Promise<void>;
  /** Adds our rules to Docker's chain, which would drop what ours accept. */
  letThrough(): Promise<void>;
  log: Logger;
}

export class RulesGuard {
  readonly #options: RulesGuardOptions;
  readonly #shell: Coprocess;
  #warned = false;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(options: RulesGuardOptions) {
    this.#options = options;
    const { table, bridge, texts, uplinkPid } = options;
    this.#shell = new Coprocess({
      name: 'the look at the rules',
      command: [...inNetworkOf(uplinkPid), 'sh', '-c', SCRIPT, table, bridge, ...texts],
      deadlineMs: DEADLINE_MS,
      isLast: () => true,
    });
  }

  /** Idempotent. */
  start(): void {
    this.#timer ??= setInterval(() => {
      this.check().catch((error: unknown) => {
        const { log } = this.#options;
        if (!this.#closed) log.error({ err: error }, 'the firewall rules of the sandbox network cannot be restored');
      });
    }, this.#options.everyMs).unref();
  }

  /** Resolves once all rules are in place. @throws ServiceError if they cannot be read or restored. */
  async check(): Promise<void> {
    await (this.#looking ??= this.#look().finally(() => (this.#looking = undefined)));
  }

  /** Stops; resolves once a check in progress is over. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#shell.close();
    await this.#looking?.catch(() => undefined);
  }

  async #look(): Promise<void> {
    const { table, rebuild, letThrough, log } = this.#options;
    const [missing] = await this.#shell.request('');
    if (this.#closed) return;
    if (missing === 'words') await letThrough();
    this.#warnOnce(missing === 'way');
    if (missing !== 'table') return;
    await rebuild();
    log.warn({ table }, 'the firewall rules of the sandbox network had been removed');
  }

  /** Warns once per outage: only the operator can know which firewall drops the traffic. */
  #warnOnce(noWay: boolean): void {
    const { bridge, log } = this.#options;
    if (noWay && !this.#warned) {
      log.error(
        { bridge },
        `sandboxes have no network: another firewall of this node drops packets that ${bridge} forwards`,
      );
    }
    this.#warned = noWay;
  }
}
