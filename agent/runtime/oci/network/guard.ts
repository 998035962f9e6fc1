/**
 * Looks after the rules for as long as sandboxes depend on them: a firewall that is set anew takes ours with it, and then
 * everything would be open.
 */
import type { Logger } from '../../../../src/lib/logger.ts';
import { Companion } from '../companion.ts';
import { inNetworkOf } from './tools.ts';

const DEADLINE_MS = 20_000;

/** What is missing: our table, or where Docker has its chain, our words in it. */
const SCRIPT = `
table() { nft list chain inet "$0" forward; }
accepts() { iptables -w -C DOCKER-USER "$1" "$2" -j ACCEPT; }
words() { ! iptables -w -S DOCKER-USER || { accepts -i "$1" && accepts -o "$1"; }; }
while read -r _; do
  if ! table >/dev/null 2>&1; then echo table; elif ! words "$1" >/dev/null 2>&1; then echo words; else echo; fi
done`;

export interface GuardOptions {
  table: string;
  bridge: string;
  uplinkPid: number | undefined;
  everyMs: number;
  /** The whole table was taken away. What it has counted is lost: not to be called for less. */
  rebuild(): Promise<void>;
  /** Another's rules have come that would drop what ours let pass. */
  letThrough(): Promise<void>;
  log: Logger;
}

export class Guard {
  readonly #options: GuardOptions;
  readonly #shell: Companion;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(options: GuardOptions) {
    this.#options = options;
    const { table, bridge, uplinkPid } = options;
    this.#shell = new Companion({
      name: 'the look at the rules',
      command: [...inNetworkOf(uplinkPid), 'sh', '-c', SCRIPT, table, bridge],
      deadlineMs: DEADLINE_MS,
      isLast: () => true,
    });
  }

  /** Again: nothing changes. */
  start(): void {
    this.#timer ??= setInterval(() => {
      this.check().catch((error: unknown) => {
        const { log } = this.#options;
        if (!this.#closed) log.error({ err: error }, "the rules of the sandboxes' network cannot be put back");
      });
    }, this.#options.everyMs).unref();
  }

  /** Resolves once everything is there. @throws ServiceError when it cannot be looked at or put back. */
  async check(): Promise<void> {
    await (this.#looking ??= this.#look().finally(() => (this.#looking = undefined)));
  }

  /** Resolves once it does nothing any more. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#shell.close();
    await this.#looking?.catch(() => undefined);
  }

  async #look(): Promise<void> {
    const { table, rebuild, letThrough, log } = this.#options;
    const [missing] = await this.#shell.ask('');
    if (this.#closed) return;
    if (missing === 'words') await letThrough();
    if (missing !== 'table') return;
    await rebuild();
    log.warn({ table }, "the rules of the sandboxes' network had been taken away");
  }
}
