import type { Duplex } from 'node:stream';

/** For the other side to read what was said, and to hang up as well. */
const PATIENCE_MS = 2_000;

/**
 * Says a last word on a connection and ends it. An http server neither closes nor counts down the connection of an
 * upgrade, so one whose other side does not hang up is cut here: nobody keeps it open for ever.
 */
export function hangUp(socket: Duplex, lastWord: string): void {
  socket.on('error', () => socket.destroy());
  // What still arrives is of no use. Unread, it would hide the other side's end.
  socket.resume();
  socket.end(lastWord);
  const cut = setTimeout(() => socket.destroy(), PATIENCE_MS);
  socket.once('close', () => clearTimeout(cut));
}
