import { expect, onTestFinished, test, vi } from 'vitest';
import type { MuxStream, StreamHandler } from '../../mux/index.ts';
import type { ExecState } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { readOutput } from './output.ts';

const ended = (stdoutBytes: number): ExecState => ({
  execId: 'exe-1',
  state: 'exited',
  background: true,
  startedAt: new Date(0).toISOString(),
  stdoutBytes,
  stderrBytes: 0,
  exit: null,
});

test('a window that arrives byte by byte takes no more memory than its bytes', async () => {
  const total = 64 * 1024;
  let handler: StreamHandler = {};
  const stream = { consume: () => undefined, reset: () => undefined } as unknown as MuxStream;
  const node = { open: (_request: unknown, its: StreamHandler) => ((handler = its), stream) };
  const reading = readOutput(node, 'sbx-1', ended(total), { channel: 'stdout', offset: 0 });
  const concat = vi.spyOn(Buffer, 'concat');
  onTestFinished(() => concat.mockRestore());
  for (let at = 0; at < total; at++) handler.data?.(Channel.STDOUT, Buffer.from([at & 255]));
  const { bytes } = await reading;
  expect(bytes.length).toBe(total);
  expect(bytes.every((byte, at) => byte === (at & 255))).toBe(true);
  for (const [pieces] of concat.mock.calls) expect(pieces.length).toBeLessThan(100);
});
