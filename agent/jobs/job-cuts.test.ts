import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { newRecord, Sandbox } from '../sandboxes/sandbox.ts';
import { newSpec, until } from '../testing/harness.ts';
import { Jobs } from './jobs.ts';

const NO_CALLS = { callBegins: () => undefined, callEnds: () => undefined };
const MIB = 1024 * 1024;

/** A stream to boxinit. */
class Inner {
  closed = false;
  readonly request: Json;
  readonly handler: StreamHandler;
  readonly messages: Json[] = [];
  readonly fins: number[] = [];
  input = '';

  constructor(request: Json, handler: StreamHandler) {
    this.request = request;
    this.handler = handler;
  }
  write(_channel: number, bytes: Uint8Array): void {
    this.input += Buffer.from(bytes).toString();
  }
  urgent(message: Json): void {
    this.messages.push(message);
  }
  fin(channel: number): void {
    this.fins.push(channel);
  }
  end(): void {}
  reset(): void {
    this.closed = true;
  }
  consume(): void {}
  cut(): void {
    this.closed = true;
    this.handler.closed?.(new ServiceError('interrupted'));
  }
}

/** A gateway's stream. */
class Outer {
  closed = false;
  readonly request: Json;
  handler: StreamHandler = {};
  accepted = false;
  consumed = 0;
  refused: ServiceError | null = null;

  constructor(request: Json) {
    this.request = request;
  }
  accept(): void {
    this.accepted = true;
  }
  refuse(error: ServiceError): void {
    if (this.closed) return;
    this.closed = true;
    this.refused = error;
    this.handler.closed?.(error);
  }
  consume(bytes: number): void {
    this.consumed += bytes;
  }
}

let dataDir: string;
let jobs: Jobs;
let sandbox: Sandbox;
let inners: Inner[];

beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  const limits = { jobBytes: MIB, totalBytes: MIB };
  jobs = new Jobs({ dataDir, limits, hooks: { oomKills: async () => 0 }, log: silent });
  const spec = newSpec();
  sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
  sandbox.move('PROVISIONING');
  sandbox.move('RUNNING');
  inners = [];
  const open = (request: Json, handler: StreamHandler): Inner => {
    const inner = new Inner(request, handler);
    inners.push(inner);
    return inner;
  };
  sandbox.launched = { link: { connected: true, open } } as unknown as Sandbox['launched'];
});

afterEach(async () => {
  await jobs.close();
  rmSync(dataDir, { recursive: true, force: true });
});

/** A job with a reader, whose command has started. */
async function running(): Promise<{ outer: Outer; first: Inner }> {
  const outer = new Outer({
    op: 'exec',
    sandbox: sandbox.id,
    id: 'exe-job',
    argv: ['cat'],
    stdin: true,
    background: true,
  });
  outer.handler = jobs.exec(outer as unknown as MuxStream, sandbox, NO_CALLS);
  const [first] = inners;
  if (first === undefined) throw new Error('nothing was opened');
  first.handler.opened?.({ pid: 1 });
  await until('the reader is attached', () => outer.accepted);
  return { outer, first };
}

/** The stream after the cut, which the command has not answered on yet. */
async function second(): Promise<Inner> {
  await until('the command is looked for', () => inners.length > 1);
  return inners[1]!;
}

const AGAIN = { pid: 1, stdinBytes: 0 };

const INPUT = {
  bytes: (outer: Outer) => outer.handler.data?.(Channel.STDIN, Buffer.from('in')),
  end: (outer: Outer) => outer.handler.fin?.(Channel.STDIN),
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
  ['a signal', (outer: Outer) => outer.handler.event?.({ type: 'signal', signal: 'USR1' })],
])('whoever has sent %s hears of a cut', async (_what, send) => {
  const { outer, first } = await running();
  send(outer);
  expect(outer.refused).toBeNull();
  first.cut();
  expect(outer.refused).toMatchObject({ code: 'interrupted' });
});

test('signals, kills and sizes that come while a command is being found reach it', async () => {
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

test('a kill and the newest size are repeated after a cut, and a signal is not', async () => {
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

test('signals that wait for a command are bounded', async () => {
  const { outer, first } = await running();
  first.cut();
  for (let i = 0; i < 1_000 && outer.refused === null; i++) outer.handler.event?.({ type: 'signal', signal: 'USR1' });
  expect(outer.refused).toMatchObject({ code: 'rate_limited' });
});
