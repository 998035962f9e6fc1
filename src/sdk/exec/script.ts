/** A script that is too long for the OPEN: it follows on a channel of its own. */
import { Channel } from '../../protocol/frames.ts';
import type { MuxStream } from '../../mux/index.ts';

const BLOCK_BYTES = 64 * 1024;

export async function sendScript(stream: MuxStream, script: Buffer): Promise<void> {
  for (let at = 0; at < script.length && !stream.closed; at += BLOCK_BYTES) {
    await stream.write(Channel.SCRIPT, script.subarray(at, at + BLOCK_BYTES));
  }
  if (!stream.closed) stream.fin(Channel.SCRIPT);
}
