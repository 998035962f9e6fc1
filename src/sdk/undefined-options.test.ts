/** An undefined option counts as not given, also for the compiler, which checks this file. */
import { expect, test } from 'vitest';
import { ATTACH_OPTIONS, EXEC_OPTIONS } from './exec/options.ts';
import { ATTACH_PTY_OPTIONS, PTY_OPTIONS } from './pty.ts';
import { fakeClient } from './testing/fake-client.ts';
import type {
  AttachOptions,
  AttachPtyOptions,
  CallOptions,
  CreateOptions,
  ExecOptions,
  FollowOptions,
  JobOptions,
  ListOptions,
  MilliboxOptions,
  OwnerOptions,
  PtyOptions,
  RangeOptions,
  ReadOptions,
  WatchOptions,
  WriteOptions,
} from './index.ts';
import { Millibox } from './index.ts';

type NoneOf<T> = { [K in keyof T]-?: undefined };
/** Fails to compile for options of which one cannot be undefined. */
type Accepts<T extends object> = NoneOf<T> extends T ? true : never;

test('no option has to be left out', async () => {
  const all: [
    Accepts<AttachOptions>,
    Accepts<AttachPtyOptions>,
    Accepts<CallOptions>,
    Accepts<CreateOptions>,
    Accepts<ExecOptions>,
    Accepts<FollowOptions>,
    Accepts<JobOptions>,
    Accepts<ListOptions>,
    Accepts<MilliboxOptions>,
    Accepts<OwnerOptions>,
    Accepts<PtyOptions>,
    Accepts<RangeOptions>,
    Accepts<ReadOptions>,
    Accepts<WatchOptions>,
    Accepts<WriteOptions>,
  ] = [true, true, true, true, true, true, true, true, true, true, true, true, true, true, true];
  expect(all).not.toContain(false);
});

const noneOf = (names: object): object => Object.fromEntries(Object.keys(names).map((name) => [name, undefined]));

test('a command whose options are all undefined is one without options', async () => {
  const { exec, gateway } = fakeClient((program) => program.exit(0));
  await exec('true', noneOf(EXEC_OPTIONS));
  await exec('true');
  const [given, none] = [...gateway.execs.values()].map(({ request: { id: _, ...rest } }) => rest);
  expect(given).toEqual(none);
});

test('and so are the options of a client, a terminal and an attach', async () => {
  await using client = new Millibox({ url: 'http://127.0.0.1:1', apiKey: undefined, resumeMs: undefined });
  const sandbox = client.sandboxes.at('sbx-0123');
  sandbox.pty(noneOf(PTY_OPTIONS));
  sandbox.attachPty('exe-0123', noneOf(ATTACH_PTY_OPTIONS));
  sandbox.attach('exe-0123', noneOf(ATTACH_OPTIONS));
});
