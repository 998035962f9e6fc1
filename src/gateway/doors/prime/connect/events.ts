/** Session events as protobuf messages. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { endOfCharacters } from '../../../../lib/end-of-characters.ts';
import { CommandSessionEventSchema, type CommandSessionEvent } from './command-session.gen.ts';
import type { Channel, Event } from './output.ts';

type Init = MessageInitShape<typeof CommandSessionEventSchema>;
const message = (event: NonNullable<Init['event']>): CommandSessionEvent =>
  create(CommandSessionEventSchema, { event });

export const startEvent = (pid: number): CommandSessionEvent => message({ case: 'start', value: { pid } });

export function toMessage(event: Event): CommandSessionEvent {
  switch (event.kind) {
    case 'keepalive':
      return message({ case: 'keepalive', value: {} });
    case 'data':
      return message({ case: 'data', value: { output: { case: event.channel, value: event.bytes } } });
    case 'end': {
      const { exitCode, signal } = event;
      const status = signal === null ? `exit status ${exitCode}` : `signal: ${signal}`;
      return message({ case: 'end', value: { exitCode, exited: signal === null, status } });
    }
  }
}

/** Regroups output so that no UTF-8 character is split: some clients decode each piece of text on its own. */
export async function* wholeCharacters(events: AsyncIterable<Event>): AsyncGenerator<Event> {
  const held = new Map<Channel, Buffer>();
  for await (const event of events) {
    if (event.kind === 'end') {
      for (const [channel, bytes] of held) if (bytes.length > 0) yield { kind: 'data', channel, bytes };
    }
    if (event.kind !== 'data') {
      yield event;
      continue;
    }
    const before = held.get(event.channel);
    const bytes = before === undefined || before.length === 0 ? event.bytes : Buffer.concat([before, event.bytes]);
    const end = endOfCharacters(bytes);
    held.set(event.channel, Buffer.from(bytes.subarray(end)));
    if (end > 0) yield { kind: 'data', channel: event.channel, bytes: bytes.subarray(0, end) };
  }
}
