/** Commands that stream while links are cut. Each that ran identifies itself by a line in /tmp/runs. */
import { createHash } from 'node:crypto';
import { Agent, request } from 'undici';
import { expect } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import type { Random } from '../helpers/random.ts';

export interface LoadContext {
  sandbox: Sandbox;
  url: string;
  apiKey: string;
}

/** Runs one command under this name. Resolves with whether it should have run; throws if anything about it is wrong. */
export type Load = (at: LoadContext, name: string, choice: Random) => Promise<boolean>;

/** Longer than any trouble here: the test is about losing nothing, not about when to give up. */
export const PATIENT_MS = 300_000;
const RING_BYTES = 4 * 1024 * 1024;

/** Records that it ran, then sends its input back, and its digest on stderr. */
const ECHO = `
import hashlib, os, sys
os.write(os.open("/tmp/runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT), (sys.argv[1] + "\\n").encode())
digest = hashlib.sha256()
while True:
    block = os.read(0, 30000)
    if not block: break
    digest.update(block)
    while block: block = block[os.write(1, block):]
os.write(2, digest.hexdigest().encode())
sys.exit(int(sys.argv[2]))
`;

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const patient = { detachedMs: PATIENT_MS };

/** Input and output at the same time. */
export const echo: Load = async ({ sandbox }, name, choice) => {
  const input = choice.bytes(choice.between(50_000, 800_000));
  const exitCode = choice.between(0, 100);
  const result = await sandbox.exec(['python3', '-c', ECHO, name, String(exitCode)], {
    ...patient,
    encoding: 'bytes',
    stdin: input,
    ringBytes: RING_BYTES,
  });
  check(name, result.stdout, input, result.exitCode, exitCode);
  expect(result.stderr.toString(), name).toBe(digestOf(input));
  expect(result.truncated, name).toEqual({ stdout: false, stderr: false });
  return true;
};

/** Output only, no more than is kept for a detached reader. */
export const count: Load = async ({ sandbox }, name, choice) => {
  const lines = choice.between(1_000, 120_000);
  const exitCode = choice.between(0, 100);
  const command = `echo ${name} >> /tmp/runs; seq 1 ${lines}; exit ${exitCode}`;
  const chunks: Buffer[] = [];
  let ended: number | undefined;
  for await (const event of sandbox.exec(command, { ...patient, encoding: 'bytes' })) {
    if (event.type === 'stdout') chunks.push(event.data);
    if (event.type === 'output_lost') throw new Error(`${name} lost ${event.from} to ${event.to}`);
    if (event.type === 'exit') ended = event.exitCode;
  }
  const expected = Buffer.from(Array.from({ length: lines }, (_, i) => `${i + 1}\n`).join(''));
  check(name, Buffer.concat(chunks), expected, ended, exitCode);
  return true;
};

/** A script too long for one frame, which therefore runs once all of it has arrived. */
export const script: Load = async ({ sandbox }, name, choice) => {
  const exitCode = choice.between(0, 100);
  const padding = 'x'.repeat(choice.between(100_000, 160_000));
  const result = await sandbox.exec(`: ${padding}; echo ${name} >> /tmp/runs; echo done; exit ${exitCode}`, patient);
  expect({ ...result, name }).toMatchObject({ name, stdout: 'done\n', stderr: '', exitCode });
  return true;
};

/** A program that does not exist. */
export const refused: Load = async ({ sandbox }, name) => {
  const exec = sandbox.exec(['/no/such/program', name], patient);
  await expect(exec.result, name).rejects.toMatchObject({ code: 'exec_program_not_found' });
  return false;
};

/** A command that reaches its limit. */
export const limited: Load = async ({ sandbox }, name) => {
  const command = `echo ${name} >> /tmp/runs; echo begun; sleep 600`;
  const result = await sandbox.exec(command, { ...patient, timeoutMs: 1_500, killGraceMs: 100 });
  expect({ ...result, name }).toMatchObject({ name, timedOut: true, stdout: 'begun\n', exitCode: 143 });
  return true;
};

/** A command that is killed, by a message that may be lost like any other. */
export const killed: Load = async ({ sandbox }, name) => {
  let text = '';
  const begun = Promise.withResolvers<void>();
  const exec = sandbox.exec(`echo ${name} >> /tmp/runs; echo begun; sleep 60; exit 1`, {
    ...patient,
    onStdout: (data) => {
      text += data;
      if (text === 'begun\n') begun.resolve();
    },
  });
  await Promise.race([begun.promise, exec.result]);
  exec.kill();
  expect({ ...(await exec), name }).toMatchObject({ name, timedOut: false, stdout: 'begun\n', exitCode: 143 });
  return true;
};

/** A terminal that passes bytes unchanged. */
export const terminal: Load = async ({ sandbox }, name, choice) => {
  const input = choice.bytes(choice.between(5_000, 60_000));
  const exitCode = choice.between(0, 100);
  const command = `echo ${name} >> /tmp/runs; stty raw -echo; echo ready; head -c ${input.length} | sha256sum; exit ${exitCode}`;
  const pty = sandbox.pty({ ...patient, command });
  const chunks: Buffer[] = [];
  let typed = false;
  for await (const bytes of pty) {
    chunks.push(bytes);
    if (typed || !Buffer.concat(chunks).includes('ready\n')) continue;
    typed = true;
    pty.write(input).catch(() => undefined);
  }
  check(
    name,
    Buffer.concat(chunks),
    Buffer.from(`ready\n${digestOf(input)}  -\n`),
    (await pty.exit).exitCode,
    exitCode,
  );
  return true;
};

/** One HTTP call under a key, repeated until its answer arrives. */
export const blocking: Load = async ({ sandbox, url, apiKey }, name, choice) => {
  const input = choice.bytes(choice.between(1_000, 60_000));
  const exitCode = choice.between(0, 100);
  const body = JSON.stringify({
    argv: ['python3', '-c', ECHO, name, String(exitCode)],
    stdin: input.toString('base64'),
    encoding: 'base64',
  });
  for (let tries = 1; ; tries++) {
    // A separate connection each time, so that each can be cut.
    const dispatcher = new Agent({ connections: 1, headersTimeout: 0, bodyTimeout: 0 });
    try {
      const answer = await request(`${url}/v1/sandboxes/${sandbox.id}/exec`, {
        dispatcher,
        method: 'POST',
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', 'idempotency-key': name },
        body,
      });
      const text = await answer.body.text();
      if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text}`);
      const result = JSON.parse(text) as { stdout: string; stderr: string; exitCode: number };
      check(name, Buffer.from(result.stdout, 'base64'), input, result.exitCode, exitCode);
      expect(Buffer.from(result.stderr, 'base64').toString(), name).toBe(digestOf(input));
      return true;
    } catch (error) {
      const cut = /ECONNRESET|UND_ERR|other side closed|aborted|terminated|"interrupted"/;
      if (tries > 200 || !cut.test(`${String((error as { code?: unknown }).code)} ${String(error)}`)) throw error;
    } finally {
      await dispatcher.destroy();
    }
  }
};

function check(name: string, got: Buffer, expected: Buffer, exit: number | undefined, expectedExit: number): void {
  if (!got.equals(expected)) {
    let at = 0;
    while (at < got.length && got[at] === expected[at]) at += 1;
    throw new Error(`${name}: ${got.length} bytes for ${expected.length}, different from byte ${at} on`);
  }
  expect(exit, name).toBe(expectedExit);
}
