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

test('a delete whose link is gone before its turn is carried out all the same', async () => {
  const remove = vi.fn(() => ({}));
  const stream = {
    request: { op: 'delete', sandbox: 'sbx-1', reason: 'deleted' },
    closed: true,
    accept() {},
    end() {},
  };
  const turns = new PerTurn(1);
  expect(turns.now()).toBe(true);
  const deps = { sandboxes: { delete: remove }, turns };
  openOp(stream as unknown as MuxStream, deps as unknown as Parameters<typeof openOp>[1]);
  expect(remove).not.toHaveBeenCalled();
  await vi.waitFor(() => expect(remove).toHaveBeenCalledExactlyOnceWith('sbx-1', 'deleted', undefined));
});

test('a create whose link is gone before its turn makes nothing: the gateway may have sent it elsewhere', async () => {
  const create = vi.fn();
  const refusals: ServiceError[] = [];
  const stream = {
    request: { op: 'create', spec: newSpec() },
    closed: true,
    refuse: (error: ServiceError) => refusals.push(error),
  };
  const turns = new PerTurn(1);
  expect(turns.now()).toBe(true);
  const deps = { sandboxes: { create }, turns };
  openOp(stream as unknown as MuxStream, deps as unknown as Parameters<typeof openOp>[1]);
  await vi.waitFor(() => expect(refusals).toMatchObject([{ code: 'cancelled' }]));
  expect(create).not.toHaveBeenCalled();
});
