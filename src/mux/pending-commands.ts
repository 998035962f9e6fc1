/** Signals, kills and resizes for a command that cannot be reached right now: none is lost before it can. */
import type { ExecCommand } from '../protocol/exec.ts';

const MAX_SIGNALS = 64;

export class PendingCommands {
  #resize: ExecCommand | null = null;
  #kill: ExecCommand | null = null;
  #signals: ExecCommand[] = [];

  /**
   * Keeps a kill and the newest size for every later stream: the one that takes them may break before they arrive. A
   * signal is kept only if it could not be sent, since sending it twice is not the same.
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

  /** The commands to send on a new stream. */
  take(): ExecCommand[] {
    const all = [this.#resize, ...this.#signals, this.#kill].filter((command) => command !== null);
    this.#signals = [];
    return all;
  }
}
