/** A signal may fire with any reason. A call always rejects with an Error, whichever call it is. */
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Millibox, MilliboxError, type Sandbox } from './index.ts';

/** Accepts connections and never answers. */
const silent = createServer((socket) => socket.on('error', () => undefined).resume());
let client: Millibox;
beforeAll(async () => {
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  client = new Millibox({ url: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` });
});
afterAll(async () => {
  await client.close();
  silent.close();
});

type Call = (at: { client: Millibox; sandbox: Sandbox }, options: { signal: AbortSignal }) => unknown;
const CALLS: [string, Call][] = [
  ['create', (at, options) => at.client.sandboxes.create(options)],
  ['get', (at, options) => at.client.sandboxes.get('sbx-0123', options)],
  ['list', (at, options) => at.client.sandboxes.list(options).next()],
  ['deleteByLabel', (at, options) => at.client.sandboxes.deleteByLabel({ a: 'b' }, options)],
  ['created', (at, options) => at.client.sandboxes.create().created(options)],
  ['ready', (at, options) => at.sandbox.ready(options)],
  ['refresh', (at, options) => at.sandbox.refresh(options)],
  ['exec', (at, options) => at.sandbox.exec('true', options)],
  ['attach', (at, options) => at.sandbox.attach('exe-0123', options)],
  ['a loop over an exec', (at, options) => at.sandbox.exec('true', options)[Symbol.asyncIterator]().next()],
  ['pty', (at, options) => at.sandbox.pty(options).exit],
  ['a job', (at, options) => at.sandbox.jobs.start('true', options)],
  ['jobs.list', (at, options) => at.sandbox.jobs.list(options)],
  ['wait', (at, options) => at.sandbox.jobs.get('exe-0123').wait(options)],
  ['follow', (at, options) => at.sandbox.jobs.get('exe-0123').follow(options).next()],
  ['files.read', (at, options) => at.sandbox.files.read('/a', options)],
  ['files.write', (at, options) => at.sandbox.files.write('/a', 'b', options)],
  ['files.list', (at, options) => at.sandbox.files.list('/a', options)],
  ['files.watch', (at, options) => at.sandbox.files.watch('/a', options).next()],
  ['files.uploadTar', (at, options) => at.sandbox.files.uploadTar('/a', 'b', options)],
  ['files.downloadTar', (at, options) => at.sandbox.files.downloadTar('/a', options).next()],
  ['ports.connect', (at, options) => at.sandbox.ports.connect(80, options)],
  ['ports.preview', (at, options) => at.sandbox.ports.preview(80, options)],
];

/** The rejection of a call whose signal fires with this reason, before the call or while it waits. */
async function rejection(call: Call, before: boolean, reason: unknown): Promise<unknown> {
  const stop = new AbortController();
  if (before) stop.abort(reason);
  const sandbox = client.sandboxes.at('sbx-0123');
  const outcome = (async () => call({ client, sandbox }, { signal: stop.signal }) as unknown)().then(
    () => 'it did not reject',
    (error: unknown) => error,
  );
  if (!before) setImmediate(() => stop.abort(reason));
  return await outcome;
}

test.each(CALLS.filter(([name]) => /^files\.(?!watch)|^ports\.connect/.test(name)))(
  '%s ends at its deadline, whatever the server does',
  async (_, call) => {
    const options = { deadlineMs: 30 } as unknown as { signal: AbortSignal };
    const ended = (async () => call({ client, sandbox: client.sandboxes.at('sbx-0123') }, options) as unknown)();
    await expect(ended).rejects.toMatchObject({ code: 'deadline_exceeded' });
  },
);

for (const before of [true, false]) {
  const when = before ? 'before it' : 'meanwhile';
  test.each(CALLS)(
    `%s, aborted ${when} with a reason that is not an error, is cancelled, with the reason as the cause`,
    async (_, call) => {
      for (const reason of ['enough', 5, null, { why: 'enough' }]) {
        const error = await rejection(call, before, reason);
        expect(error).toBeInstanceOf(MilliboxError);
        expect(error).toMatchObject({ code: 'cancelled', retryable: false, cause: reason });
      }
    },
  );

  test.each(CALLS)(
    `%s, aborted ${when} with an error or nothing, rejects with the signal's own reason`,
    async (_, call) => {
      const mine = new RangeError('mine');
      expect(await rejection(call, before, mine)).toBe(mine);
      expect(await rejection(call, before, undefined)).toMatchObject({ name: 'AbortError' });
    },
  );
}
