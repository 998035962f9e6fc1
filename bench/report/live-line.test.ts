import { expect, test } from 'vitest';
import { LiveLine, type LiveStream } from './live-line.ts';

function stream(isTTY: boolean): { text: () => string; stream: LiveStream } {
  let text = '';
  const write = (piece: string | Uint8Array): boolean => {
    text += String(piece);
    return true;
  };
  return { text: () => text, stream: { isTTY, columns: 20, write } };
}

test('on a terminal a status replaces the last one, never wraps, and is cleared before the next line', () => {
  const { text, stream: terminal } = stream(true);
  const live = new LiveLine(terminal);
  live.status('one');
  live.status('x'.repeat(100));
  live.line('done');
  expect(text()).toBe(`\r\u001b[Kone\r\u001b[K${'x'.repeat(19)}\r\u001b[Kdone\n`);
});

test('in a log a status is a line, at most one in five seconds', () => {
  const { text, stream: log } = stream(false);
  let now = 0;
  const live = new LiveLine(log, () => now);
  for (; now <= 10_000; now += 500) live.status(`at ${now}`);
  live.line('done');
  expect(text()).toBe('at 0\nat 5000\nat 10000\ndone\n');
});
