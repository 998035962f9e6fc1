/** A name server on a loopback port, with records that a test sets. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

const TYPES = { A: 1, AAAA: 28, SRV: 33 } as const;
type Type = keyof typeof TYPES;
const HEADER_BYTES = 12;
const SERVFAIL = 2;
const NXDOMAIN = 3;

export class NameServer implements AsyncDisposable {
  /** By name: addresses of either family, or `host:port` for services. */
  readonly records = new Map<string, readonly string[]>();
  /** silent: no answer at all. Otherwise the response code: 2 SERVFAIL, 5 REFUSED. */
  failure: 'silent' | 2 | 5 | null = null;
  /** Names answered with SERVFAIL, whatever the others are. */
  readonly failing = new Set<string>();
  queries = 0;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (query, from) => this.#take(query, from));
    socket.on('error', () => undefined);
  }

  static async start(): Promise<NameServer> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new NameServer(socket);
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await once(this.#socket, 'close');
  }

  #take(query: Buffer, from: RemoteInfo): void {
    this.queries += 1;
    if (this.failure === 'silent') return;
    const { name, end } = readName(query);
    const question = query.subarray(HEADER_BYTES, end + 4);
    const type = query.readUInt16BE(end);
    const failure = this.failing.has(name) ? SERVFAIL : this.failure;
    const records = failure === null ? this.records.get(name) : undefined;
    const answers = (records ?? []).filter((record) => TYPES[typeOf(record)] === type).map(answer);
    const header = Buffer.alloc(HEADER_BYTES);
    query.copy(header, 0, 0, 2);
    const code = failure ?? (records === undefined ? NXDOMAIN : 0);
    // A response, authoritative, recursion available.
    header.writeUInt16BE(0x8580 | code, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    this.#socket.send(Buffer.concat([header, question, ...answers]), from.port, from.address);
  }
}

const typeOf = (record: string): Type => (isIPv6(record) ? 'AAAA' : record.includes(':') ? 'SRV' : 'A');

function readName(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 };
}

function answer(record: string): Buffer {
  const type = typeOf(record);
  const data = dataOf(type, record);
  const head = Buffer.alloc(12);
  // The name of the question, by pointer.
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(TYPES[type], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(1, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function dataOf(type: Type, record: string): Buffer {
  if (type === 'A') return Buffer.from(record.split('.').map(Number));
  if (type === 'AAAA') return sixteenBytes(record);
  const [host = '', port] = record.split(':');
  const fixed = Buffer.alloc(6);
  fixed.writeUInt16BE(Number(port), 4);
  return Buffer.concat([fixed, ...host.split('.').map(label), Buffer.from([0])]);
}

const label = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);

function sixteenBytes(address: string): Buffer {
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array<string>(8 - left.length - right.length).fill('0');
  const bytes = Buffer.alloc(16);
  [...left, ...zeros, ...right].forEach((group, i) => bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i));
  return bytes;
}
