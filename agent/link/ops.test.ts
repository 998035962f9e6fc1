import { expect, test, vi } from 'vitest';
import { PerTurn } from '../../src/lib/per-turn.ts';
import type { MuxStream } from '../../src/mux/index.ts';
import type { ServiceError } from '../../src/protocol/errors.ts';
import { newSpec } from '../testing/harness.ts';
import { openOp } from './ops.ts';

test('an answer that cannot be sent refuses its stream, and affects nothing else', async () => {
  const refusals: ServiceError[] = [];
  const stream = {
    request: { op: 'images' },
    accept: () => {
      throw new Error('no');
    },
    refuse: (error: ServiceError) => refusals.push(error),
  };
  const deps = { runtime: { images: { list: () => Promise.resolve([]) } } };
  openOp(stream as unknown as MuxStream, deps as unknown as Parameters<typeof openOp>[1]);
  await vi.waitFor(() => expect(refusals).toMatchObject([{ code: 'internal' }]));
});

test('a create whose link is gone before its turn makes nothing: the gateway may have sent it elsewhere', async () => {
  const create = vi.fn();
  const refusals: ServiceError[] = [];
  const stream = {
    request: { op: 'create', spec: newSpec() },
    closed: true,
    refuse: (error: ServiceError) => refusals.push(error),
  };
  const creates = new PerTurn(1);
  expect(creates.now()).toBe(true);
  const deps = { sandboxes: { create }, creates };
  openOp(stream as unknown as MuxStream, deps as unknown as Parameters<typeof openOp>[1]);
  await vi.waitFor(() => expect(refusals).toMatchObject([{ code: 'cancelled' }]));
  expect(create).not.toHaveBeenCalled();
});
