import { expect, onTestFinished, test } from 'vitest';
import { createMux, memoryPair, type Json } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { Opener } from '../nodes/unary.ts';
import { programOf } from './program.ts';
import { runExec } from './run.ts';

/** A node whose first link is lost before the command arrives; the command is never sent to it again. */
function forgetfulNode() {
  const asked: unknown[] = [];
  const link = (answer: (request: Json) => void): { opener: Opener; cut: () => void } => {
    const pair = memoryPair();
    const onOpen = ({ request }: { request: Json }) => {
      asked.push(request['op']);
      answer(request);
      return {};
    };
    createMux({ transport: pair.b, role: 'listener', hello: {}, onHello: () => undefined, onOpen });
    const opener = createMux({ transport: pair.a, role: 'dialler', hello: {}, onHello: () => undefined });
    onTestFinished(() => opener.close());
    return { opener, cut: () => pair.cut() };
  };
  const heard = Promise.withResolvers<void>();
  const first = link(() => heard.resolve());
  const second = link(() => {
    throw new ServiceError('exec_not_found');
  });
  return { asked, heard: heard.promise, first, second };
}

test('a command whose call was lost is not started by attaching to it in order to kill it', async () => {
  const { asked, heard, first, second } = forgetfulNode();
  const found = Promise.withResolvers<Opener>();
  const lost = Promise.withResolvers<void>();
  let looks = 0;
  const caller = new AbortController();
  const running = runExec({
    program: programOf({ command: 'x', encoding: 'utf8' }, { sandbox: 'sbx-1', id: 'exe-1', detachedMs: 0 }),
    locate: () => {
      if (looks++ === 0) return Promise.resolve(first.opener);
      lost.resolve();
      return found.promise;
    },
    maxOutputBytes: 1_000,
    encoding: 'utf8',
    signal: caller.signal,
    resumeMs: 20_000,
    keepExit: false,
  });
  await heard;
  first.cut();
  await lost.promise;
  caller.abort();
  found.resolve(second.opener);
  await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  expect(asked).toEqual(['exec', 'attach']);
});
