import { expect, test, vi } from 'vitest';
import type { MuxStream } from '../../src/mux/index.ts';
import type { ServiceError } from '../../src/protocol/errors.ts';
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
