import type { MuxStream } from '../../mux/index.ts';
import { MAX_DATA_BYTES } from '../../protocol/limits.ts';

/** Sends bytes as fast as the stream takes them. Stops early when it closes. */
export async function sendBytes(stream: MuxStream, channel: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length && !stream.closed; at += MAX_DATA_BYTES) {
    const drained = stream.write(channel, bytes.subarray(at, at + MAX_DATA_BYTES));
    if (drained !== undefined) await drained;
  }
}
