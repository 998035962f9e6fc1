import { expect, test } from 'vitest';
import { createMux, memoryPair, type Mux, type MuxStream } from '../../src/mux/index.ts';
import { UnfinishedStreams } from './unfinished.ts';

/** A link whose accepted streams are counted. */
function link(unfinished: UnfinishedStreams): { gateway: Mux; opened: MuxStream[] } {
  const { a, b } = memoryPair();
  const opened: MuxStream[] = [];
  const ends = { hello: {}, onHello: () => undefined, pingIntervalMs: 0 };
  createMux({
    ...ends,
    transport: b,
    role: 'listener',
    onOpen: (stream) => {
      opened.push(stream);
      return unfinished.track(stream, { fin: () => stream.end() });
    },
  });
  return { gateway: createMux({ ...ends, transport: a, role: 'dialler' }), opened };
}

test('a stop waits for calls that a cut would break, and for nothing else', async () => {
  const unfinished = new UnfinishedStreams();
  const { gateway, opened } = link(unfinished);
  for (const op of ['exec', 'attach', 'watch', 'port']) gateway.open({ op }, {});
  await expect.poll(() => opened.length).toBe(4);
  await unfinished.settled(60_000);

  const file = gateway.open({ op: 'file' }, {});
  await expect.poll(() => opened.length).toBe(5);
  let settled = false;
  const waiting = unfinished.settled(60_000).then(() => (settled = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(settled).toBe(false);
  opened[4]?.accept();
  file.end();
  await waiting;
});

test('the wait is bounded, and calls on a lost link do not count', async () => {
  const unfinished = new UnfinishedStreams();
  const { gateway, opened } = link(unfinished);
  gateway.open({ op: 'file' }, {});
  await expect.poll(() => opened.length).toBe(1);
  await unfinished.settled(20);
  const waiting = unfinished.settled(60_000);
  gateway.close();
  await waiting;
});
