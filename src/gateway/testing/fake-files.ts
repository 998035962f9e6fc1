/** Files of a fake node: a map in memory. */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import { sendBytes } from '../streams/send.ts';

export class FakeFiles {
  readonly all = new Map<string, Buffer>();
  /** Every call received. */
  readonly calls: Json[] = [];
  /** How many bytes of an upload are taken before it stalls. */
  takeAtMost = Infinity;

  open(stream: MuxStream): StreamHandler {
    const { request } = stream;
    this.calls.push(request);
    const path = String(request['path']);
    switch (request['call']) {
      case 'read':
      case 'tar-read': {
        const whole = this.#get(path);
        const offset = Number(request['offset'] ?? 0);
        const bytes = whole.subarray(offset, offset + Number(request['length'] ?? whole.length));
        queueMicrotask(() => {
          stream.accept(statOf(path, whole));
          void sendBytes(stream, Channel.BYTES, bytes).then(() => stream.end());
        });
        return {};
      }
      case 'write':
      case 'tar-write':
        return this.#write(stream, path);
      case 'stat':
        return answer(stream, statOf(path, this.#get(path)));
      case 'list': {
        const { path: _path, ...entry } = statOf('', Buffer.alloc(0));
        const entries = [...this.all.keys()].map((name) => ({ ...entry, name }));
        return answer(stream, { entries, more: false });
      }
      case 'remove':
        this.#get(path);
        this.all.delete(path);
        return answer(stream, {});
      default:
        return answer(stream, {});
    }
  }

  #get(path: string): Buffer {
    const bytes = this.all.get(path);
    if (bytes === undefined) throw new ServiceError('file_not_found');
    return bytes;
  }

  #write(stream: MuxStream, path: string): StreamHandler {
    const chunks: Buffer[] = [];
    let taken = 0;
    queueMicrotask(() => stream.accept());
    return {
      data: (_channel, bytes) => {
        chunks.push(Buffer.from(bytes));
        taken += bytes.length;
        if (taken <= this.takeAtMost) stream.consume(bytes.length);
      },
      fin: (channel) => {
        if (channel !== Channel.BYTES) return;
        const bytes = Buffer.concat(chunks);
        const { size } = stream.request;
        if (size !== undefined && size !== bytes.length) return stream.reset(new ServiceError('file_failed'));
        this.all.set(path, bytes);
        stream.event({ type: 'done', stat: statOf(path, bytes) });
        stream.end();
      },
    };
  }
}

function statOf(path: string, bytes: Buffer): Json {
  return { path, kind: 'file', sizeBytes: bytes.length, mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 0 };
}

function answer(stream: MuxStream, message: Json): StreamHandler {
  queueMicrotask(() => {
    stream.accept(message);
    stream.end();
  });
  return {};
}
