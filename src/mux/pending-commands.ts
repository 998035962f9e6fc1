/** Signals, kills and resizes of a command that cannot be reached right now: none is lost until it can. */
import type { ExecCommand } from '../protocol/exec.ts';

const MAX_SIGNALS = 64;

export class PendingCommands {
  #resize: ExecCommand | null = null;
  #kill: ExecCommand | null = null;
  #signals: ExecCommand[] = [];

  /**
   * Keeps a kill and the newest size for every stream to come: the one that takes them may break before they arrive. A
   * signal is kept only if it could not be sent, since a second one is not the same.
   * @returns false if there are too many signals
   */
  keep(command: ExecCommand, sent: boolean): boolean {
    if (command.type === 'resize') this.#resize = command;
    else if (command.type === 'kill') this.#kill = command;
    else if (!sent) {
      if (this.#signals.length >= MAX_SIGNALS) return false;
      this.#signals.push(command);
    }
    return true;
  }

  /** What a new stream has to be told. */
  take(): ExecCommand[] {
    const all = [this.#resize, ...this.#signals, this.#kill].filter((command) => command !== null);
    this.#signals = [];
    return all;
  }
}
