/** A client's stream, with everything received over it. */
import type { Json, Mux, MuxStream } from '../../mux/index.ts';
import type { ServiceError } from '../../protocol/errors.ts';

export interface ClientStream {
  stream: MuxStream;
  opened: Promise<Json>;
  /** Resolves when it has ended. */
  closed: Promise<ServiceError | null>;
  events: Json[];
  /** By channel. */
  data: Map<number, Buffer[]>;
  text(channel: number): string;
  /** Resolves with the first event of this type. */
  event(type: string): Promise<Json>;
  bytes: number;
}

/** @param take Returns credit for everything received. */
export function openClientStream(mux: Mux, request: Json, { take = true } = {}): ClientStream {
  const opened = Promise.withResolvers<Json>();
  const closed = Promise.withResolvers<ServiceError | null>();
  opened.promise.catch(() => undefined);
  const waiting: { type: string; resolve: (event: Json) => void }[] = [];
  const data = new Map<number, Buffer[]>();
  const events: Json[] = [];
  const client: ClientStream = {
    opened: opened.promise,
    closed: closed.promise,
    events,
    data,
    bytes: 0,
    text: (channel) => Buffer.concat(data.get(channel) ?? []).toString(),
    event: (type) => {
      const found = events.find((event) => event['type'] === type);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve) => waiting.push({ type, resolve }));
    },
    stream: mux.open(request, {
      opened: (answer) => opened.resolve(answer),
      data: (channel, bytes) => {
        const chunks = data.get(channel) ?? [];
        chunks.push(Buffer.from(bytes));
        data.set(channel, chunks);
        client.bytes += bytes.length;
        if (take) client.stream.consume(bytes.length);
      },
      event: (message) => {
        events.push(message);
        for (const { type, resolve } of waiting) if (type === message['type']) resolve(message);
        if (message['type'] === 'exit') client.stream.end();
      },
      closed: (error) => {
        opened.reject(error);
        closed.resolve(error);
      },
    }),
  };
  return client;
}
