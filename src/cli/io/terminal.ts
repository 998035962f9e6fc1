/** A terminal in a sandbox, connected to ours. */
import type { ReadStream, WriteStream } from 'node:tty';
import type { ExecExit } from '../../protocol/exec.ts';
import type { OutputLost, Pty } from '../../sdk/index.ts';
import { terminalName } from '../config.ts';
import { exitCodeOf, exitCodeOfSignal } from './exit-code.ts';
import { TerminalInput } from './terminal-input.ts';
import { BrokenPipe, write } from './pump.ts';
import { awaitEndSignal, type EndSignal } from './signals.ts';

/** The maximum size of a terminal in a sandbox, in either direction. */
const MAX_CELLS = 10_000;

/** The program ended, the user left by the detach keys, or a signal asked this process to end. */
export type TerminalEnd =
  | { type: 'exit'; exit: ExecExit }
  | { type: 'detached' }
  | { type: 'signal'; signal: EndSignal | 'SIGPIPE'; /** The program ran. */ started: boolean };

/** The current size of our terminal; the usual size if there is none. */
export function terminalSize(): { cols: number; rows: number } {
  const { columns, rows } = ourScreen() ?? process.stdout;
  return { cols: Math.min(columns || 80, MAX_CELLS), rows: Math.min(rows || 24, MAX_CELLS) };
}

/** The variables by which programs know which terminal they write to. */
export function terminalEnvironment(): { TERM: string } {
  return { TERM: process.stdout.isTTY ? terminalName() : 'dumb' };
}

/**
 * Sends keys there and shows output here, until the program ends or the user leaves. Our terminal is in raw mode
 * meanwhile, and is restored afterwards, however this ends. What happens to a program that the user left is up to the
 * caller.
 * @param options.redraw the program has run before: make it redraw the screen
 * @throws ServiceError why the program did not run, or how it was lost
 */
export async function joinTerminal(pty: Pty, options: { redraw?: boolean } = {}): Promise<TerminalEnd> {
  const { stdin } = process;
  // A terminal that is gone can be neither written to nor restored.
  stdin.on('error', () => undefined);
  using ended = awaitEndSignal();
  const early = await Promise.race([pty.started.then(() => undefined), ended.signal]);
  if (early !== undefined) return { type: 'signal', signal: early, started: false };
  using size = new SizeFollower(pty);
  if (options.redraw) size.redraw();
  using _raw = rawMode(stdin, () => size.redraw());
  using keyboard = new TerminalInput(stdin, (bytes) => pty.write(bytes));
  return await Promise.race([
    show(pty),
    keyboard.left.then((how) => (how === 'detached' ? { type: how } : leave('SIGHUP'))),
    ended.signal.then(leave),
  ]);
}

export function exitCodeOfEnd(end: TerminalEnd): number {
  if (end.type === 'exit') return exitCodeOf(end.exit);
  return end.type === 'signal' ? exitCodeOfSignal(end.signal) : 0;
}

const leave = (signal: EndSignal | 'SIGPIPE'): TerminalEnd => ({ type: 'signal', signal, started: true });

async function show(pty: Pty): Promise<TerminalEnd> {
  try {
    for await (const bytes of pty) await write(process.stdout, bytes);
  } catch (error) {
    if (error instanceof BrokenPipe) return leave('SIGPIPE');
    // The window was closed.
    if ((error as NodeJS.ErrnoException).code === 'EIO') return leave('SIGHUP');
    // The error message starts on a line of its own.
    ourScreen()?.write('\r\n');
    throw error;
  }
  return { type: 'exit', exit: await pty.exit };
}

/**
 * Raw mode until disposed. If we are stopped from outside (a Ctrl-Z goes to the program), the terminal is restored, and
 * set again when we continue.
 */
function rawMode(stdin: ReadStream, continued: () => void): Disposable {
  if (!stdin.isTTY) return { [Symbol.dispose]: () => undefined };
  const onStop = (): void => {
    stdin.setRawMode(false);
    process.kill(process.pid, 'SIGSTOP');
  };
  const onContinue = (): void => {
    stdin.setRawMode(false).setRawMode(true);
    continued();
  };
  stdin.setRawMode(true);
  process.on('SIGTSTP', onStop);
  process.on('SIGCONT', onContinue);
  return {
    [Symbol.dispose]: () => {
      process.off('SIGTSTP', onStop);
      process.off('SIGCONT', onContinue);
      stdin.setRawMode(false);
    },
  };
}

/** Keeps the size of the sandbox's terminal equal to ours, until disposed. */
class SizeFollower implements Disposable {
  readonly #pty: Pty;
  readonly #screen = ourScreen();

  constructor(pty: Pty) {
    this.#pty = pty;
    this.#follow();
    this.#screen?.on('resize', this.#follow);
  }

  [Symbol.dispose](): void {
    this.#screen?.off('resize', this.#follow);
  }

  /** A program redraws only when the size changes. */
  redraw(): void {
    // A stopped process does not get the signal for a changed window size.
    process.emit('SIGWINCH');
    const { cols, rows } = terminalSize();
    this.#pty.resize(cols, rows > 1 ? rows - 1 : rows + 1);
    this.#follow();
  }

  readonly #follow = (): void => {
    const { cols, rows } = terminalSize();
    this.#pty.resize(cols, rows);
  };
}

/** Printed on the screen, amid the program's output. */
export function reportLostOutput({ from, to }: OutputLost): void {
  process.stderr.write(`\r\nmillibox: ${to - from} bytes of the output were discarded here\r\n`);
}

/** The stream that shows the output, or the one for messages if output is redirected. */
const ourScreen = (): WriteStream | undefined => [process.stdout, process.stderr].find((stream) => stream.isTTY);
