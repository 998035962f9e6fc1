/**
 * Memory in which outgoing bytes are batched. One pool for all links of the process, so that an idle link holds none
 * and a busy one makes no garbage: fresh external buffers cost more than the copying does.
 */

/** Two of the largest fill what may be in flight on a link: one is written while the next is filled. */
export const LARGE_BYTES = 128 * 1024;

interface SizeClass {
  bytes: number;
  kept: number;
  free: Uint8Array[];
}

const CLASSES: readonly SizeClass[] = [
  { bytes: 4 * 1024, kept: 512, free: [] },
  { bytes: 64 * 1024, kept: 64, free: [] },
  { bytes: LARGE_BYTES, kept: 32, free: [] },
];
const LARGEST = CLASSES[CLASSES.length - 1]!;

/** A buffer of at least `bytes`, or of LARGE_BYTES when that is less. It still holds its previous user's content. */
export function takeBuffer(bytes: number): Uint8Array {
  const fit = CLASSES.find((c) => bytes <= c.bytes) ?? LARGEST;
  return fit.free.pop() ?? Buffer.allocUnsafeSlow(fit.bytes);
}

/** Nobody may use the buffer after this. */
export function giveBuffer(buffer: Uint8Array): void {
  const fit = CLASSES.find((c) => c.bytes === buffer.length);
  if (fit !== undefined && fit.free.length < fit.kept) fit.free.push(buffer);
}
