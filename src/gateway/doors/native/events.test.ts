import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Json, MuxStream } from '../../../mux/index.ts';
import type { ServiceError } from '../../../protocol/errors.ts';
import type { Sandbox } from '../../../protocol/sandbox.ts';
import type { SandboxService } from '../../sandboxes/service.ts';
import { EventStreams } from './events.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A link with this much unsent, and what was sent over its stream. */
function link() {
  const sent: string[] = [];
  const stream = {
    request: { op: 'events' },
    backlog: 0,
    accept: () => undefined,
    event: (message: Json) => {
      const { id, status } = message['sandbox'] as Sandbox;
      sent.push(`${id} ${status}`);
    },
  };
  return { stream, sent, asStream: stream as unknown as MuxStream };
}

function service() {
  const listeners = new Set<(sandbox: Sandbox) => void>();
  const subscribe = (_tenant: string, listener: (sandbox: Sandbox) => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  return {
    events: new EventStreams({ subscribe } as unknown as SandboxService),
    listeners,
    change: (id: string, status: string) => {
      for (const listener of listeners) listener({ id, status } as Sandbox);
    },
  };
}

test('a client that keeps up gets every change, in order', () => {
  const { events, change } = service();
  const { asStream, sent } = link();
  events.open(asStream, 'tenant');
  for (const status of ['PENDING', 'RUNNING', 'TERMINATED']) change('one', status);
  expect(sent).toEqual(['one PENDING', 'one RUNNING', 'one TERMINATED']);
});

test('a client that falls behind gets the newest state of each sandbox once it reads, and no state twice', () => {
  const { events, change } = service();
  const { stream, asStream, sent } = link();
  const handler = events.open(asStream, 'tenant');
  stream.backlog = 2 * 1024 * 1024;
  for (let round = 0; round < 1_000; round++) {
    change('one', `state ${round}`);
    change('two', `state ${round}`);
  }
  vi.advanceTimersByTime(10_000);
  expect(sent).toEqual([]);
  stream.backlog = 0;
  vi.advanceTimersByTime(1_000);
  expect(sent).toEqual(['one state 999', 'two state 999']);
  change('one', 'TERMINATED');
  expect(sent.at(-1)).toBe('one TERMINATED');
  expect(vi.getTimerCount()).toBe(0);
  handler.closed?.(null);
});

test('a stream that ends leaves no timer and no listener', () => {
  const { events, change, listeners } = service();
  const { stream, asStream } = link();
  const handler = events.open(asStream, 'tenant');
  stream.backlog = 2 * 1024 * 1024;
  change('one', 'RUNNING');
  handler.closed?.(null);
  expect([vi.getTimerCount(), listeners.size]).toEqual([0, 0]);
});

test('the number of copies of each change that one client can ask for is bounded', () => {
  const { events, listeners } = service();
  const refusal = (): string | undefined => {
    try {
      events.open(link().asStream, 'tenant');
      return undefined;
    } catch (error) {
      return (error as ServiceError).code;
    }
  };
  const codes = Array.from({ length: 300 }, refusal);
  expect(codes.filter((code) => code === 'rate_limited')).toHaveLength(44);
  expect(listeners.size).toBe(256);
});
