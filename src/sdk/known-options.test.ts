/** A mistyped option is refused, wherever options are taken, before anything is sent to the service. */
import { expect, onTestFinished, test } from 'vitest';
import { Millibox, type Sandbox } from './index.ts';

function unreachable(): { client: Millibox; sandbox: Sandbox } {
  const client = new Millibox({ url: 'http://127.0.0.1:1', patienceMs: 0 });
  onTestFinished(() => client.close());
  return { client, sandbox: client.sandboxes.at('sbx-0123') };
}

/** What a call throws or rejects with. */
async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  return 'nothing was refused';
}

const wrong = { nonsense: 1 } as never;

test.each<[string, (at: ReturnType<typeof unreachable>) => unknown]>([
  ['new Millibox', () => new Millibox(wrong)],
  ['create', ({ client }) => client.sandboxes.create(wrong)],
  ['createMany', ({ client }) => client.sandboxes.createMany(2, wrong)],
  ['get', ({ client }) => client.sandboxes.get('sbx-0123', wrong)],
  ['list', ({ client }) => client.sandboxes.list(wrong).next()],
  ['delete', ({ client }) => client.sandboxes.delete('sbx-0123', wrong)],
  ['deleteByLabel', ({ client }) => client.sandboxes.deleteByLabel({ a: 'b' }, wrong)],
  ['ready', ({ sandbox }) => sandbox.ready(wrong)],
  ['refresh', ({ sandbox }) => sandbox.refresh(wrong)],
  ['delete', ({ sandbox }) => sandbox.delete(wrong)],
  ['extend', ({ sandbox }) => sandbox.extend(1_000, wrong)],
  ['keepalive', ({ sandbox }) => sandbox.keepalive(wrong)],
  ['exec', ({ sandbox }) => sandbox.exec('true', wrong)],
  ['a job', ({ sandbox }) => sandbox.exec('true', { background: true, nonsense: 1 } as never)],
  ['attach', ({ sandbox }) => sandbox.attach('exe-0123', wrong)],
  ['pty', ({ sandbox }) => sandbox.pty(wrong)],
  ['attachPty', ({ sandbox }) => sandbox.attachPty('exe-0123', wrong)],
  ['jobs.list', ({ sandbox }) => sandbox.jobs.list(wrong)],
  ['state', ({ sandbox }) => sandbox.jobs.get('exe-0123').state(wrong)],
  ['wait', ({ sandbox }) => sandbox.jobs.get('exe-0123').wait(wrong)],
  ['output', ({ sandbox }) => sandbox.jobs.get('exe-0123').output('stdout', wrong)],
  ['read', ({ sandbox }) => sandbox.jobs.get('exe-0123').read('stdout', wrong).next()],
  ['follow', ({ sandbox }) => sandbox.jobs.get('exe-0123').follow(wrong).next()],
  ['signal', ({ sandbox }) => sandbox.jobs.get('exe-0123').signal('TERM', wrong)],
  ['kill', ({ sandbox }) => sandbox.jobs.get('exe-0123').kill(wrong)],
  ['files.read', ({ sandbox }) => sandbox.files.read('/a', wrong)],
  ['files.readText', ({ sandbox }) => sandbox.files.readText('/a', wrong)],
  ['files.readStream', ({ sandbox }) => sandbox.files.readStream('/a', wrong).next()],
  ['files.write', ({ sandbox }) => sandbox.files.write('/a', '', wrong)],
  ['files.list', ({ sandbox }) => sandbox.files.list('/a', wrong)],
  ['files.entries', ({ sandbox }) => sandbox.files.entries('/a', wrong).next()],
  ['files.stat', ({ sandbox }) => sandbox.files.stat('/a', wrong)],
  ['files.exists', ({ sandbox }) => sandbox.files.exists('/a', wrong)],
  ['files.mkdir', ({ sandbox }) => sandbox.files.mkdir('/a', wrong)],
  ['files.move', ({ sandbox }) => sandbox.files.move('/a', '/b', wrong)],
  ['files.remove', ({ sandbox }) => sandbox.files.remove('/a', wrong)],
  ['files.chmod', ({ sandbox }) => sandbox.files.chmod('/a', wrong)],
  ['files.watch', ({ sandbox }) => sandbox.files.watch('/a', wrong).next()],
  ['files.uploadTar', ({ sandbox }) => sandbox.files.uploadTar('/a', '', wrong)],
  ['files.downloadTar', ({ sandbox }) => sandbox.files.downloadTar('/a', wrong).next()],
  ['ports.connect', ({ sandbox }) => sandbox.ports.connect(80, wrong)],
  ['ports.preview', ({ sandbox }) => sandbox.ports.preview(80, wrong)],
])('%s refuses an option that it does not have', async (what, call) => {
  const error = await failureOf(() => call(unreachable()));
  expect(error).toMatchObject({ code: 'invalid_request', retryable: false });
  expect(String(error)).toContain(`${what}: there is no option "nonsense"; the options are: `);
});

test.each([
  [{ timeout: 5 }, 'timeoutMs'],
  [{ timeoutms: 5 }, 'timeoutMs'],
  [{ evn: {} }, 'env'],
  [{ workingDirectory: '/' }, null],
  [{ cwdd: '/' }, 'cwd'],
  [{ maxOutput: 5 }, 'maxOutputBytes'],
  [{ stdIn: '' }, 'stdin'],
])('for %o it suggests the likely name', (options, meant) => {
  const hint = meant === null ? 'the options are: cwd, env' : `did you mean "${meant}"?`;
  expect(() => unreachable().sandbox.exec('true', options as never)).toThrow(hint);
});

test.each<[string, object | null]>([
  ['options must be an object', null],
  ['signal must be an AbortSignal', { signal: {} }],
  ['signal must be an AbortSignal', { signal: null }],
  ["encoding must be 'utf8' or 'bytes'", { encoding: 'base64' }],
  ['stdin must be', { stdin: 5 }],
  ['stdin must be', { stdin: null }],
  ['stdin must be', { stdin: false }],
  ['stdin must be', { stdin: {} }],
  ['onStdout and onStderr', { onStdout: 5 }],
  ['background must be true or false', { background: 'yes' }],
])('says "%s" for %o', (message, options) => {
  expect(() => unreachable().sandbox.exec('true', options as never)).toThrow(message);
});

test.each<[string, (at: ReturnType<typeof unreachable>) => unknown]>([
  ['exec: timeoutMs must be a number, not Infinity', ({ sandbox }) => sandbox.exec('true', { timeoutMs: Infinity })],
  ['a job: timeoutMs must be a number, not NaN', ({ sandbox }) => sandbox.jobs.start('true', { timeoutMs: NaN })],
  ['create: memoryMb must be a number, not NaN', ({ client }) => client.sandboxes.create({ memoryMb: Number('2g') })],
  ['pty: cols must be a number, not NaN', ({ sandbox }) => sandbox.pty({ cols: NaN })],
  ['files.read: deadlineMs must be a number, not NaN', ({ sandbox }) => sandbox.files.read('/a', { deadlineMs: NaN })],
  ['delete: deadlineMs must be a number', ({ sandbox }) => sandbox.delete({ deadlineMs: '5' as never })],
  ['new Millibox: patienceMs must be a number, not NaN', () => new Millibox({ patienceMs: NaN })],
])('says "%s"', async (message, call) => {
  const error = await failureOf(() => call(unreachable()));
  expect(error).toMatchObject({ code: 'invalid_request', message });
});

test('an infinite wait may be given explicitly', async () => {
  const { client, sandbox } = unreachable();
  await expect(client.sandboxes.create({ deadlineMs: Infinity })).rejects.toMatchObject({ code: 'node_unavailable' });
  await expect(sandbox.refresh({ deadlineMs: Infinity })).rejects.toMatchObject({ code: 'node_unavailable' });
});

test.each<[string, (at: ReturnType<typeof unreachable>, id: never) => unknown]>([
  ['at', ({ client }, id) => client.sandboxes.at(id)],
  ['get', ({ client }, id) => client.sandboxes.get(id)],
  ['delete', ({ client }, id) => client.sandboxes.delete(id)],
  ['attach', ({ sandbox }, id) => sandbox.attach(id)],
  ['attach', ({ sandbox }, id) => sandbox.attachPty(id)],
  ['jobs.get', ({ sandbox }, id) => sandbox.jobs.get(id)],
])('%s names an invalid id, such as a missing argument', async (what, call) => {
  for (const [id, shown] of [
    [undefined, 'undefined'],
    ['', '""'],
    [7, '7'],
  ] as const) {
    const error = await failureOf(() => call(unreachable(), id as never));
    expect(error).toMatchObject({ code: 'invalid_request', message: `${what}: an id must be a string, not ${shown}` });
  }
});

test('a default may be given explicitly: undefined, and background as false', async () => {
  const { sandbox } = unreachable();
  const handle = sandbox.exec('true', { timeoutMs: undefined, nonsense: undefined, background: false } as never);
  expect(handle).toHaveProperty('kill');
  await expect(handle).rejects.toMatchObject({ code: 'node_unavailable' });
});

test('a missing command is not a way to attach', () => {
  expect(() => unreachable().sandbox.exec(null as never)).toThrow('a string or a list of strings');
});

test('an unknown signal is refused, not ignored', async () => {
  const handle = unreachable().sandbox.exec('true');
  expect(() => handle.signal('SIGTERM' as never)).toThrow('there is no signal SIGTERM');
  await expect(handle).rejects.toMatchObject({ code: 'node_unavailable' });
});

test.each([
  [0, -1],
  [80, 10_001],
  [80.5, 24],
])('a terminal of %d columns and %d rows is refused, not ignored', async (cols, rows) => {
  const handle = unreachable().sandbox.exec('true');
  expect(() => handle.resize(cols, rows)).toThrow(`${cols} columns and ${rows} rows`);
  await expect(handle).rejects.toMatchObject({ code: 'node_unavailable' });
});

test('for no ids there are no states, and no request', async () => {
  expect(await unreachable().sandbox.jobs.list({ ids: [] })).toEqual([]);
});
