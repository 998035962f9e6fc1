import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import type { Json, MuxStream } from '../../src/mux/index.ts';
import { Channel } from '../../src/protocol/frames.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { until } from '../testing/harness.ts';
import { Jobs } from './jobs.ts';
import { EXIT, NO_CALLS, GatewayStream, runningSandbox, type BoxinitStream } from './testing/job-streams.ts';

const MIB = 1024 * 1024;

let dataDir: string;
let jobs: Jobs;
let sandbox: Sandbox;
let inners: BoxinitStream[];

beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  const limits = { jobBytes: MIB, totalBytes: MIB };
  jobs = new Jobs({ dataDir, limits, hooks: { oomKills: async () => 0 }, log: silent });
  ({ sandbox, inners } = runningSandbox());
});

afterEach(async () => {
  await jobs.close();
  rmSync(dataDir, { recursive: true, force: true });
});

/** A job with one reader, whose command has started. */
async function running(how: Json = {}): Promise<{ outer: GatewayStream; first: BoxinitStream }> {
  const outer = new GatewayStream({
    op: 'exec',
    sandbox: sandbox.id,
    id: 'exe-job',
    argv: ['cat'],
    stdin: true,
    background: true,
    ...how,
  });
  outer.handler = jobs.exec(outer as unknown as MuxStream, sandbox, NO_CALLS);
  const [first] = inners;
  if (first === undefined) throw new Error('nothing was opened');
  first.handler.opened?.({ pid: 1 });
  await until('the reader is attached', () => outer.accepted);
  return { outer, first };
}

/** Another reader, which may still be waiting for its answer. */
function attach(): GatewayStream {
  const outer = new GatewayStream({ op: 'attach', sandbox: sandbox.id, id: 'exe-job' });
  const job = jobs.find(sandbox.id, 'exe-job');
  if (job === undefined) throw new Error('there is no such job');
  outer.handler = jobs.attach(outer as unknown as MuxStream, sandbox, job, NO_CALLS);
  return outer;
}

/** The stream opened after a cut, on which the command has not answered yet. */
async function second(): Promise<BoxinitStream> {
  await until('the command is looked for', () => inners.length > 1);
  return inners[1]!;
}

const AGAIN = { pid: 1, stdinBytes: 0 };

const INPUT = {
  bytes: (outer: GatewayStream) => outer.handler.data?.(Channel.STDIN, Buffer.from('in')),
  end: (outer: GatewayStream) => outer.handler.fin?.(Channel.STDIN),
};

test.each([
  ['bytes', 'is looked for'],
  ['bytes', 'answers'],
  ['end', 'is looked for'],
  ['end', 'answers'],
] as const)(
  'input (%s) that comes before a command %s is not taken for sent: its reader attaches again',
  async (what, when) => {
    const { outer, first } = await running();
    first.cut();
    if (when === 'answers') await second();
    INPUT[what](outer);
    expect(outer.refused).toMatchObject({ code: 'interrupted' });
    expect(outer.consumed).toBe(0);
    const next = await second();
    next.handler.opened?.(AGAIN);
    expect([next.input, next.fins]).toEqual(['', []]);
  },
);

test.each([
  ['input', INPUT.bytes],
  ['its end', INPUT.end],
  ['a signal', (outer: GatewayStream) => outer.handler.event?.({ type: 'signal', signal: 'USR1' })],
])('a reader that has sent %s is cut', async (_what, send) => {
  const { outer, first } = await running();
  send(outer);
  expect(outer.refused).toBeNull();
  first.cut();
  expect(outer.refused).toMatchObject({ code: 'interrupted' });
});

test('signals, kills and resizes sent while the command is being reattached reach it', async () => {
  const { outer, first } = await running();
  first.cut();
  outer.handler.event?.({ type: 'signal', signal: 'USR1' });
  outer.handler.event?.({ type: 'resize', cols: 1, rows: 1 });
  const next = await second();
  outer.handler.event?.({ type: 'resize', cols: 2, rows: 2 });
  outer.handler.event?.({ type: 'signal', signal: 'TERM' });
  expect([outer.refused, next.messages]).toEqual([null, []]);
  next.handler.opened?.(AGAIN);
  expect(next.messages).toEqual([
    { type: 'resize', cols: 2, rows: 2 },
    { type: 'signal', signal: 'USR1' },
    { type: 'signal', signal: 'TERM' },
  ]);
  outer.handler.event?.({ type: 'kill' });
  expect(next.messages.at(-1)).toEqual({ type: 'kill' });
});

test('a kill and the latest size are resent after a cut, and a signal is not', async () => {
  const { outer, first } = await running();
  for (const type of ['kill', 'kill']) outer.handler.event?.({ type });
  outer.handler.event?.({ type: 'resize', cols: 3, rows: 3 });
  outer.handler.event?.({ type: 'signal', signal: 'USR1' });
  expect(first.messages).toHaveLength(4);
  first.cut();
  const next = await second();
  next.handler.opened?.(AGAIN);
  expect(next.messages).toEqual([{ type: 'resize', cols: 3, rows: 3 }, { type: 'kill' }]);
});

test('the number of signals waiting for a command is bounded', async () => {
  const { outer, first } = await running();
  first.cut();
  for (let i = 0; i < 1_000 && outer.refused === null; i++) outer.handler.event?.({ type: 'signal', signal: 'USR1' });
  expect(outer.refused).toMatchObject({ code: 'rate_limited' });
});

const type = (outer: GatewayStream, text: string): void => outer.handler.data?.(Channel.STDIN, Buffer.from(text));

test('signals to a job that has ended are dropped, however many, and its reader reads on', async () => {
  const { outer, first } = await running();
  first.handler.event?.(EXIT);
  await until('the exit is recorded', () => first.ended);
  const messages = first.messages.length;
  for (let i = 0; i < 1_000; i++) outer.handler.event?.({ type: 'signal', signal: 'USR1' });
  expect([outer.refused, first.messages.length]).toEqual([null, messages]);
});

test('input sent by one reader after another has ended the input is dropped, and the job continues', async () => {
  const { outer, first } = await running();
  type(outer, 'in');
  INPUT.end(outer);
  const other = attach();
  await until('the other reader is attached', () => other.accepted);
  type(other, 'late');
  INPUT.end(other);
  expect([other.refused, other.consumed]).toEqual([null, 4]);
  expect([outer.refused, first.closed, first.input, first.fins]).toEqual([null, false, 'in', [Channel.STDIN]]);
  expect(jobs.states(sandbox.id)).toMatchObject([{ execId: 'exe-job', state: 'running' }]);
});

const TERMINAL = { pty: { cols: 80, rows: 24 } };

test('terminal input continues over another stream after one reader sends what it takes for the end', async () => {
  const { outer, first } = await running(TERMINAL);
  type(outer, 'in');
  INPUT.end(outer);
  const other = attach();
  await until('the other reader is attached', () => other.accepted);
  type(other, 'late');
  expect([other.refused, other.consumed]).toMatchObject([{ code: 'interrupted' }, 0]);
  const next = await second();
  // The exit is kept for a later attach, whatever was killed.
  expect(first.left).toMatchObject({ code: 'interrupted' });
  expect(next.request).toMatchObject({ op: 'attach', id: 'exe-job' });
  const again = attach();
  next.handler.opened?.({ ...AGAIN, stdinBytes: 2 });
  await until('it is attached again', () => again.accepted);
  type(again, 'late');
  expect([next.input, next.fins, again.refused]).toEqual(['late', [], null]);
  expect([outer.refused, outer.consumed]).toEqual([null, 2]);
});

test("a reader whose input was lost when the terminal's stream was replaced is cut", async () => {
  const { outer } = await running(TERMINAL);
  type(outer, 'in');
  INPUT.end(outer);
  type(attach(), 'late');
  const next = await second();
  expect(outer.refused).toBeNull();
  next.handler.opened?.({ ...AGAIN, stdinBytes: 1 });
  expect(outer.refused).toMatchObject({ code: 'interrupted' });
});

test('a cut does not affect readers that have attached since', async () => {
  const { outer, first } = await running();
  type(outer, 'in');
  first.cut();
  const reader = attach();
  reader.handler.event?.({ type: 'signal', signal: 'USR1' });
  const next = await second();
  next.handler.opened?.(AGAIN);
  expect([reader.refused, next.messages]).toEqual([null, [{ type: 'signal', signal: 'USR1' }]]);
});

test('a reader waiting for a command to be reattached keeps waiting through further cuts', async () => {
  const { first } = await running();
  first.cut();
  const reader = attach();
  (await second()).cut();
  await until('it is looked for again', () => inners.length > 2);
  expect(reader.accepted).toBe(false);
  inners[2]!.handler.opened?.(AGAIN);
  await until('the reader is attached', () => reader.accepted);
});

test('an agent that stops leaves the exit of a killed command to the next one', async () => {
  const { outer, first } = await running();
  outer.handler.event?.({ type: 'kill' });
  await jobs.close();
  expect(first.left).toMatchObject({ code: 'interrupted' });
});
