/** Commands whose every byte and exit code is known in advance, and the check of their results. */
import { createHash } from 'node:crypto';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { WrongAnswer } from './failure.ts';

export interface KnownCommand {
  command: string | readonly string[];
  exitCode: number;
  stdout: Expected;
  stderr: Expected;
}

interface Expected {
  bytes: number;
  sha256: string;
}

/** The file in a sandbox that records what ran in it. */
const LEDGER = '/tmp/ran';
/** Lines of output of a command that resembles an agent's. */
const LINES = 40;
const COMMAND_LIMIT_MS = 120_000;

export function expected(text: string): Expected {
  return { bytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex') };
}

/** The least that shows that the right command ran: it echoes one word. */
export function echo(word: string): KnownCommand {
  return { command: ['/bin/echo', word], exitCode: 0, stdout: expected(`${word}\n`), stderr: expected('') };
}

/**
 * Resembles an agent's command: a shell, some lines on both channels, an exit code of its own, and one line in the
 * sandbox's ledger, which reveals a command that ran twice or not at all.
 * @param turn number of the command in its sandbox, from 0
 */
export function agentCommand(seed: number, turn: number, ledger = LEDGER): KnownCommand {
  const exitCode = (seed + turn) % 3 === 0 ? 1 + ((seed + turn) % 100) : 0;
  const tag = `${seed}.${turn}`;
  const command =
    `i=0; while [ $i -lt ${LINES} ]; do echo "out ${tag} $i"; i=$((i+1)); done; ` +
    `echo "err ${tag}" >&2; echo ${turn} >> ${ledger}; exit ${exitCode}`;
  const stdout = Array.from({ length: LINES }, (_, i) => `out ${tag} ${i}\n`).join('');
  return { command, exitCode, stdout: expected(stdout), stderr: expected(`err ${tag}\n`) };
}

/** Anything that runs commands. `Sandbox` implements it. */
type Runner = Pick<Sandbox, 'exec'>;

/** Runs one, and checks everything it returns. @throws WrongAnswer, or the service's error. */
export async function runKnown(sandbox: Runner, known: KnownCommand): Promise<void> {
  const sums = { stdout: createHash('sha256'), stderr: createHash('sha256') };
  const bytes = { stdout: 0, stderr: 0 };
  let exitCode: number | undefined;
  const exec = sandbox.exec(known.command, { encoding: 'bytes', timeoutMs: COMMAND_LIMIT_MS });
  for await (const event of exec) {
    if (exitCode !== undefined) throw new WrongAnswer('duplicate_event', `${event.type} behind exit ${exitCode}`);
    if (event.type === 'output_lost')
      throw new WrongAnswer('lost_output', `${event.channel} ${event.from}..${event.to}`);
    if (event.type !== 'exit') {
      sums[event.type].update(event.data);
      bytes[event.type] += event.data.length;
      continue;
    }
    exitCode = event.exitCode;
    if (event.stdoutBytes !== bytes.stdout || event.stderrBytes !== bytes.stderr) {
      throw new WrongAnswer('lost_output', `${bytes.stdout} and ${bytes.stderr} bytes came`);
    }
  }
  if (exitCode === undefined) throw new WrongAnswer('lost_event', 'the stream ended');
  if (exitCode !== known.exitCode) throw new WrongAnswer('wrong_exit', `${exitCode}, not ${known.exitCode}`);
  for (const channel of ['stdout', 'stderr'] as const) {
    if (bytes[channel] < known[channel].bytes) throw new WrongAnswer('lost_output', channel);
    if (sums[channel].digest('hex') !== known[channel].sha256) throw new WrongAnswer('wrong_output', channel);
  }
}

/** Checks that commands 0 to `turns` - 1 of `agentCommand` ran, each once and in order. @throws WrongAnswer */
export async function checkLedger(sandbox: Runner, turns: number): Promise<void> {
  const { stdout } = await sandbox.exec(['cat', LEDGER], { timeoutMs: COMMAND_LIMIT_MS });
  const ran = stdout.split('\n').slice(0, -1);
  const once = Array.from({ length: turns }, (_, turn) => String(turn));
  if (ran.length === turns && once.every((turn, i) => ran[i] === turn)) return;
  const missing = once.some((turn) => !ran.includes(turn));
  throw new WrongAnswer(missing ? 'never_ran' : 'ran_twice', ran.join(' ').slice(0, 200));
}
