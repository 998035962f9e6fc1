/**
 * Memory that outgoing bytes are gathered in. One pool for all links of the process, so that an idle link holds none
 * and a busy one makes no garbage: fresh external buffers cost more than the copying does.
 */

export const SMALL_BYTES = 4 * 1024;
/** Two of these fill what may be in flight on a link: one is written while the next is filled. */
export const LARGE_BYTES = 128 * 1024;

const small: Uint8Array[] = [];
const large: Uint8Array[] = [];
const MAX_SMALL_KEPT = 512;
const MAX_LARGE_KEPT = 64;

/** A buffer of SMALL_BYTES, or of LARGE_BYTES when `bytes` does not fit in that. At most LARGE_BYTES may be asked for. */
export function takeBuffer(bytes: number): Uint8Array {
  if (bytes <= SMALL_BYTES) return small.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  return large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
}

export function giveBuffer(buffer: Uint8Array): void {
  if (buffer.length === SMALL_BYTES) {
    if (small.length < MAX_SMALL_KEPT) small.push(buffer);
  } else if (buffer.length === LARGE_BYTES) {
    if (large.length < MAX_LARGE_KEPT) large.push(buffer);
  }
}
