/** Tar archives byte by byte, including ones that no well-meaning program writes. */

export interface Entry {
  path: string;
  /** Default: a file. */
  type?: 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'pipe';
  body?: string | Buffer;
  /** Of a link. */
  target?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  xattrs?: Record<string, string>;
  /** Of a device; default: 0, 0. */
  device?: readonly [major: number, minor: number];
  /** A path too long for the header is in an extended one. */
  longPath?: string;
}

const BLOCK = 512;
const TYPES = { file: '0', hardlink: '1', symlink: '2', char: '3', block: '4', dir: '5', pipe: '6' } as const;

export function tar(entries: readonly Entry[]): Buffer {
  return Buffer.concat([...entries.flatMap(blocksOf), Buffer.alloc(2 * BLOCK)]);
}

function blocksOf(entry: Entry): Buffer[] {
  const body = Buffer.from(entry.body ?? '');
  const records = Object.entries(entry.xattrs ?? {}).map(([name, value]) => [`SCHILY.xattr.${name}`, value]);
  if (entry.longPath !== undefined) records.push(['path', entry.longPath]);
  // Byte by byte as latin1: values need not be text.
  const extended = Buffer.from(records.map(([name, value]) => record(`${name}=${value}`)).join(''), 'latin1');
  return [
    ...(extended.length === 0 ? [] : [header({ path: 'extended' }, 'x', extended.length), padded(extended)]),
    header(entry, TYPES[entry.type ?? 'file'], body.length),
    padded(body),
  ];
}

/** A record of an extended header begins with its own length, which includes its digits. */
function record(text: string): string {
  let length = text.length + 3;
  while (`${length} ${text}\n`.length !== length) length += 1;
  return `${length} ${text}\n`;
}

function header(entry: Entry, type: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): unknown =>
    block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  block.write(entry.path, 0, 100, 'utf8');
  octal(entry.mode ?? (entry.type === 'dir' ? 0o755 : 0o644), 100, 7);
  octal(entry.uid ?? 0, 108, 7);
  octal(entry.gid ?? 0, 116, 7);
  octal(size, 124, 11);
  octal(1_700_000_000, 136, 11);
  block.fill(' ', 148, 156);
  block.write(type, 156, 'latin1');
  block.write(entry.target ?? '', 157, 100, 'utf8');
  block.write('ustar\x0000', 257, 'latin1');
  const [major, minor] = entry.device ?? [0, 0];
  octal(major, 329, 7);
  octal(minor, 337, 7);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

const padded = (body: Buffer): Buffer => Buffer.concat([body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK)]);
