/**
 * Keeps what the opener of a stream sends before there is anybody to pass it on to. The bytes are bounded by the
 * stream's credit; everything else is bounded here, since it costs the sender nothing.
 */
import { ByteAccumulator } from '../lib/byte-accumulator.ts';
import type { ExecCommand } from '../protocol/exec.ts';
import { Channel } from '../protocol/frames.ts';
import { PendingCommands } from './pending-commands.ts';

/** Runs of bytes of one channel, and ends of channels. */
const MAX_PARTS = 256;

type Part = { channel: number; bytes: ByteAccumulator } | { channel: number; bytes: null };

export interface EarlyReceiver {
  data(channel: number, bytes: Uint8Array): void;
  command(command: ExecCommand): void;
  fin(channel: number): void;
}

export class EarlyInput {
  #parts: Part[] = [];
  readonly #commands = new PendingCommands();
  #ended = false;

  /** Copies the bytes. False: there is too much to keep. */
  data(channel: number, bytes: Uint8Array): boolean {
    if (bytes.length === 0) return true;
    const last = this.#parts.at(-1);
    if (last !== undefined && last.channel === channel && last.bytes !== null) {
      last.bytes.push(bytes);
      return true;
    }
    const gathered = new ByteAccumulator();
    gathered.push(bytes);
    return this.#add({ channel, bytes: gathered });
  }

  /** Only the newest size counts, and one kill. False: there is too much to keep. */
  command(command: ExecCommand): boolean {
    return this.#commands.keep(command, false);
  }

  /** False: there is too much to keep. */
  fin(channel: number): boolean {
    if (channel !== Channel.ALL) return this.#add({ channel, bytes: null });
    this.#ended = true;
    return true;
  }

  /** Passes everything on: commands after the bytes, since their target may only begin with them. */
  passTo(receiver: EarlyReceiver): void {
    for (const { channel, bytes } of this.#parts) {
      if (bytes === null) receiver.fin(channel);
      else for (const piece of bytes.take()) receiver.data(channel, piece);
    }
    this.#parts = [];
    for (const command of this.#commands.take()) receiver.command(command);
    if (this.#ended) receiver.fin(Channel.ALL);
  }

  #add(part: Part): boolean {
    if (this.#parts.length >= MAX_PARTS) return false;
    this.#parts.push(part);
    return true;
  }
}
