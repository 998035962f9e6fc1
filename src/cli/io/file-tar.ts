/** One file as a tar (POSIX pax), which carries its mode and modification time. */
import { bytesOfName } from '../../protocol/names.ts';

const BLOCK = 512;
/** The largest number that the octal digits of a header hold. */
const MAX_PLAIN_SIZE = 0o77777777777;

export interface PackedFile {
  name: string;
  mode: number;
  modifiedAtMs: number;
  size: number;
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** @throws Error when there are fewer bytes than that, or more. */
export async function* packFile({ name, mode, modifiedAtMs, size, bytes }: PackedFile): AsyncGenerator<Uint8Array> {
  const extended = Buffer.concat([
    record('path', bytesOfName(name)),
    record('mtime', String(Math.floor(modifiedAtMs / 1000))),
    ...(size > MAX_PLAIN_SIZE ? [record('size', String(size))] : []),
  ]);
  yield header('x', { size: extended.length, mode: 0o644 });
  yield Buffer.concat([extended, Buffer.alloc(padding(extended.length))]);
  // The records override the header's own fields.
  yield header('0', { size: Math.min(size, MAX_PLAIN_SIZE), mode: mode & 0o7777 });
  let left = size;
  for await (const chunk of bytes) {
    left -= chunk.length;
    if (left < 0) break;
    yield chunk;
  }
  if (left !== 0) throw new Error(`${name} changed its size while it was copied`);
  yield Buffer.alloc(padding(size) + 2 * BLOCK);
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function record(key: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function header(kind: 'x' | '0', { size, mode }: { size: number; mode: number }): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): void =>
    void block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  block.write('file', 0, 'latin1');
  octal(mode, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  block.fill(' ', 148, 156);
  block.write(kind, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((all, byte) => all + byte, 0);
  octal(sum, 148, 6);
  block[154] = 0;
  return block;
}

const padding = (bytes: number): number => -bytes & (BLOCK - 1);
