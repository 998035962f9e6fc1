/** File changes, as they happen. */
import * as z from 'zod';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { Json } from '../mux/index.ts';
import { openStream, type Streams } from './unary.ts';

const Change = z.object({ type: z.literal('change'), kind: z.string(), path: z.string() });

export interface FileChange {
  /** create, write, remove, rename (away from this name), chmod, or overflow: some changes were dropped. */
  kind: string;
  path: string;
}

/** Changes kept for a slow reader. */
const MAX_WAITING = 10_000;

/** A reader that falls too far behind misses changes; an overflow event marks the place. */
export async function* watch(streams: Streams, request: Json, signal?: AbortSignal): AsyncGenerator<FileChange> {
  const queue: FileChange[] = [];
  let end: { error: Error | null } | null = null;
  let wake: () => void = () => undefined;
  const stream = await openStream(streams, request, signal, {
    event: (message) => {
      const change = Change.safeParse(message);
      if (!change.success) return;
      const { kind, path } = change.data;
      if (queue.length < MAX_WAITING) queue.push({ kind, path });
      else if (queue.length === MAX_WAITING) queue.push({ kind: 'overflow', path: String(request['path']) });
      wake();
    },
    data: () => undefined,
    fin: (channel) => {
      if (channel === Channel.ALL) end ??= { error: null };
      wake();
    },
    closed: (error) => {
      end ??= { error };
      wake();
    },
  });
  try {
    for (;;) {
      const change = queue.shift();
      if (change !== undefined) yield change;
      else if (end !== null) {
        const { error } = end as { error: Error | null };
        if (error !== null) throw error;
        return;
      } else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stream.reset(new ServiceError('cancelled'));
  }
}
