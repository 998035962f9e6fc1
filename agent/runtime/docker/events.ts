/** Follows Docker's events for our containers that died, and whether of OOM. */
import type Docker from 'dockerode';
import { sleep, withDeadline } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { ID_LABEL, OWNER_LABEL } from './create-options.ts';

const CONNECT_MS = 10_000;
const RECONNECT_MS = 500;
const MAX_LINE_BYTES = 1024 * 1024;

interface EventsOptions {
  docker: Docker;
  owner: string;
  log: Logger;
  died(id: string): void;
  /** The stream was interrupted: events may have been missed. */
  missed(): void;
}

/** Follows until the signal fires, reconnecting when the stream breaks. Never rejects. */
export async function followEvents(options: EventsOptions, signal: AbortSignal): Promise<void> {
  for (let again = false; !signal.aborted; again = true) {
    try {
      await follow(options, again, signal);
    } catch (error) {
      if (!signal.aborted) options.log.warn({ err: error }, 'the Docker event stream was interrupted');
    }
    await sleep(RECONNECT_MS, signal).catch(() => undefined);
  }
}

async function follow(options: EventsOptions, again: boolean, signal: AbortSignal): Promise<void> {
  const { docker, owner } = options;
  const filters = { type: ['container'], event: ['die'], label: [`${OWNER_LABEL}=${owner}`] };
  const stream = (await withDeadline({ deadlineMs: CONNECT_MS, signal, what: "Docker's events" }, () =>
    docker.getEvents({ filters: JSON.stringify(filters), abortSignal: signal } as Parameters<Docker['getEvents']>[0]),
  )) as NodeJS.ReadableStream & { destroy(): void };
  const onAbort = (): void => stream.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (again) options.missed();
    let rest = '';
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_LINE_BYTES) throw new Error('an event without end');
      for (const line of lines) {
        const id = idOf(line);
        if (id !== undefined) options.died(id);
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    stream.destroy();
  }
}

function idOf(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  const event = JSON.parse(line) as { Actor?: { Attributes?: Record<string, string> } };
  return event.Actor?.Attributes?.[ID_LABEL];
}
