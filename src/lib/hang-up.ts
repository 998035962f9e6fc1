import type { Duplex } from 'node:stream';

/** Time for the other side to read the last bytes, and to hang up as well. */
const PATIENCE_MS = 2_000;

/**
 * Sends last bytes on a connection and ends it. An HTTP server neither closes nor times out an upgraded connection, so
 * one whose other side does not hang up is destroyed here: nobody keeps it open for ever.
 */
export function hangUp(socket: Duplex, lastWord: string): void {
  socket.on('error', () => socket.destroy());
  // Bytes that still arrive are of no use, but unread they would hide the other side's end.
  socket.resume();
  socket.end(lastWord);
  const cut = setTimeout(() => socket.destroy(), PATIENCE_MS);
  socket.once('close', () => clearTimeout(cut));
}
