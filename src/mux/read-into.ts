/**
 * Reads a socket into reused memory. A `data` event costs a fresh 64 KiB external buffer per read, and collecting those
 * costs more than reading does: 1 GiB over a unix socket takes its reader 0.14 s of CPU time with `onread` and 0.36 s
 * with `data` events. Node offers `onread` only to sockets that dial, so a connected socket's handle is moved to a new
 * socket that has it.
 */
import net from 'node:net';

/** A socket whose handle can be moved. The field is Node's own; where it is not as expected, `data` events are used. */
interface WithHandle {
  _handle?: { useUserBuffer?: unknown; getAsyncId?: unknown } | null;
}

const READ_BYTES = 256 * 1024;
/** One for all sockets: a read is followed directly by its callback, except on Windows. */
let shared: Uint8Array | undefined;
const readBuffer = (): Uint8Array =>
  process.platform === 'win32'
    ? Buffer.allocUnsafeSlow(READ_BYTES / 4)
    : (shared ??= Buffer.allocUnsafeSlow(READ_BYTES));

/**
 * Starts to read a connected socket. `onBytes` gets chunks that are valid only until it returns, and that it may
 * modify.
 * @param head bytes that were read before and come first
 * @returns the socket to write to and to listen to for `close`. When it closes, `socket` closes too, and vice versa.
 */
export function readInto(
  socket: net.Socket,
  onBytes: (chunk: Uint8Array) => void,
  head: Uint8Array = new Uint8Array(0),
): net.Socket {
  const early: Uint8Array[] = head.length > 0 ? [new Uint8Array(head)] : [];
  // After the caller has returned, and before the next read.
  queueMicrotask(() => early.forEach((chunk) => onBytes(chunk)));
  socket.setTimeout(0);
  const handle = (socket as unknown as WithHandle)._handle;
  if (!isPlain(socket) || typeof handle?.useUserBuffer !== 'function') {
    socket.on('data', onBytes);
    return socket;
  }
  (socket as unknown as WithHandle)._handle = null;
  const options = {
    handle,
    readable: true,
    writable: true,
    onread: {
      buffer: readBuffer(),
      callback: (bytes: number, buffer: Uint8Array): boolean => {
        onBytes(buffer.subarray(0, bytes));
        return true;
      },
    },
  };
  const moved = new net.Socket(options as unknown as net.SocketConstructorOpts);
  moved.once('close', () => socket.destroy());
  socket.once('close', () => moved.destroy());
  // Bytes that were read before the move.
  for (let chunk: unknown = socket.read(); chunk !== null; chunk = socket.read()) early.push(chunk as Buffer);
  moved.resume();
  return moved;
}

/** TLS sockets keep their state beside the handle. A closing socket has nothing to move. */
function isPlain(socket: net.Socket): boolean {
  return (
    Object.getPrototypeOf(socket) === net.Socket.prototype &&
    !socket.destroyed &&
    !socket.connecting &&
    !socket.readableEnded &&
    socket.writable
  );
}
