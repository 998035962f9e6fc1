/** One rollout, as a trainer makes it: checks every answer and counts what failed. */
import { randomUUID } from 'node:crypto';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Millibox, Sandbox } from '../../src/sdk/index.ts';
import type { Call } from './account.ts';
import { postTwice, type Service } from './posted.ts';

const COMMANDS = 4;
/** Longer than several consecutive faults last, with a margin for a busy machine: anything slower hangs. */
const CALL_MS = 240_000;
const NUMBERS = 2_000;
/** Longer than any rollout takes: sandboxes that could not be deleted do not occupy their places for ever. */
const LIFETIME_MS = 360_000;

export interface Failure {
  during: string;
  /** Null: the error did not come from the service. */
  code: string | null;
  message: string;
}

export interface Outcome {
  /** Identifies the rollout. */
  name: string;
  sandboxes: string[];
  calls: Call[];
  commands: number;
  /** Whether the sandbox's file could be read at the end. */
  checked: boolean;
  failures: Failure[];
  /** What must never happen: a wrong result, a line twice, a success without its line. */
  wrong: string[];
}

export async function rollout(service: Service, name: string, labels: Record<string, string>): Promise<Outcome> {
  await using client = new Millibox({ urls: [...service.urls], apiKey: service.apiKey });
  const outcome: Outcome = {
    name,
    sandboxes: [],
    calls: [],
    commands: 0,
    checked: false,
    failures: [],
    wrong: [],
  };
  const idempotencyKey = randomUUID();
  const wanted = { memoryMb: 64, timeoutMs: LIFETIME_MS, labels, idempotencyKey };
  const create = async (): Promise<Sandbox> => await client.sandboxes.create(wanted);
  const sandbox = (await attempt(outcome, 'create', create)) ?? (await attempt(outcome, 'create again', create));
  if (sandbox === undefined) return outcome;
  outcome.sandboxes.push(sandbox.id);

  const succeeded = new Set<string>();
  for (let i = 0; i < COMMANDS; i++) {
    const line = `${name}-${i}`;
    const command = `echo ${line} >> /tmp/lines; seq ${i} ${i + NUMBERS}; exit ${i}`;
    const result = await attempt(outcome, 'exec', async () => await sandbox.exec(command));
    if (result === undefined) continue;
    succeeded.add(line);
    outcome.commands += 1;
    if (result.exitCode !== i || result.stdout !== numbers(i)) {
      const { stdout, ...rest } = result;
      outcome.wrong.push(`${line}: not what it printed: ${stdout.length} characters, ${JSON.stringify(rest)}`);
    }
  }

  const posted = `${name}-posted`;
  const command = `echo ${posted} >> /tmp/lines; echo ${posted}; exit 3`;
  const twice = await attempt(outcome, 'post', () => postTwice(service, sandbox.id, command));
  if (twice !== undefined) {
    succeeded.add(posted);
    outcome.commands += 1;
    const right = twice.every(({ exitCode, stdout }) => exitCode === 3 && stdout === `${posted}\n`);
    if (!right) outcome.wrong.push(`${posted}: answered ${JSON.stringify(twice)}`);
  }

  const file = await attempt(outcome, 'read', () => sandbox.files.readText('/tmp/lines'));
  if (file !== undefined) {
    outcome.checked = true;
    outcome.wrong.push(...wrongLines(file, name, succeeded));
  }
  await attempt(outcome, 'delete', () => sandbox.delete());
  return outcome;
}

/** Makes a call and records its outcome. Undefined: it failed. */
export async function attempt<T>(
  outcome: Pick<Outcome, 'calls' | 'failures'>,
  during: string,
  act: () => PromiseLike<T>,
): Promise<T | undefined> {
  const call: Call = { during, from: performance.now(), to: NaN, said: 'nothing' };
  outcome.calls.push(call);
  try {
    const answer = await bounded(act());
    call.said = inFewWords(answer);
    return answer;
  } catch (error) {
    const code = error instanceof ServiceError ? error.code : null;
    const why = error instanceof ServiceError ? JSON.stringify(error.details ?? {}) : '';
    call.said = `${String(error)} ${why}`;
    outcome.failures.push({ during, code, message: call.said });
    return undefined;
  } finally {
    call.to = performance.now();
  }
}

/** An answer, shortened for reading. */
function inFewWords(answer: unknown): string {
  if (answer instanceof Sandbox) return answer.id;
  return JSON.stringify(answer, (_, value: unknown) => {
    return typeof value === 'string' && value.length > 80 ? `${value.length} characters` : value;
  });
}

function wrongLines(file: string, name: string, succeeded: ReadonlySet<string>): string[] {
  const lines = file.trimEnd().split('\n');
  const wrong: string[] = [];
  for (const line of new Set(lines)) {
    const times = lines.filter((each) => each === line).length;
    if (times > 1) wrong.push(`${line}: ran ${times} times`);
    if (!line.startsWith(`${name}-`)) wrong.push(`${line}: of another rollout`);
  }
  for (const line of succeeded) if (!lines.includes(line)) wrong.push(`${line}: succeeded, and never ran`);
  return wrong;
}

const numbers = (from: number): string => Array.from({ length: NUMBERS + 1 }, (_, i) => `${from + i}\n`).join('');

async function bounded<T>(call: PromiseLike<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${CALL_MS} ms`)), CALL_MS);
  try {
    return await Promise.race([call, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
