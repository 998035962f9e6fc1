import { afterEach, beforeEach, expect, test } from 'vitest';
import { Coprocess } from './coprocess.ts';

/** Answers each line with two lines, or does what its first word says. */
const SCRIPT = `while read -r word; do case "$word" in die) exit 1;; sleep) sleep 60;; esac; echo "got $word"; echo end; done`;

let companion: Coprocess;
beforeEach(() => {
  const command = ['sh', '-c', SCRIPT];
  companion = new Coprocess({ name: 'the test', command, deadlineMs: 5_000, isLast: (line) => line === 'end' });
});
afterEach(() => companion.close());

test('concurrent requests are answered in order, each with its own lines', async () => {
  const words = Array.from({ length: 50 }, (_, i) => `word-${i}`);
  const answers = await Promise.all(words.map((word) => companion.request(word)));
  expect(answers).toEqual(words.map((word) => [`got ${word}`, 'end']));
});

test('when the program ends, pending requests fail, and the next request starts it again', async () => {
  const outcomes = await Promise.allSettled([
    companion.request('one'),
    companion.request('die'),
    companion.request('two'),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  expect(await companion.request('three')).toEqual(['got three', 'end']);
});

test('a missing answer ends the program, so that no answer goes to the wrong request', async () => {
  const command = ['sh', '-c', SCRIPT];
  const impatient = new Coprocess({ name: 'the test', command, deadlineMs: 300, isLast: (line) => line === 'end' });
  await expect(impatient.request('sleep')).rejects.toThrow('did not end within');
  expect(await impatient.request('after')).toEqual(['got after', 'end']);
  impatient.close();
});

test('a missing answer fails its own request; those queued behind it are answered by a new program', async () => {
  const command = ['sh', '-c', SCRIPT];
  const impatient = new Coprocess({ name: 'the test', command, deadlineMs: 5_000, isLast: (line) => line === 'end' });
  const words = Array.from({ length: 20 }, (_, i) => `word-${i}`);
  const [stuck, ...others] = [impatient.request('sleep'), ...words.map((word) => impatient.request(word))];
  await expect(stuck).rejects.toMatchObject({ code: 'deadline_exceeded' });
  expect(await Promise.all(others)).toEqual(words.map((word) => [`got ${word}`, 'end']));
  impatient.close();
});

test('a request is tried on two programs that do not answer, and no third', async () => {
  const command = ['sh', '-c', 'sleep 60'];
  const deaf = new Coprocess({ name: 'the test', command, deadlineMs: 100, isLast: () => true });
  const outcomes = await Promise.allSettled(['one', 'two', 'three', 'four'].map((word) => deaf.request(word)));
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : outcome));
  expect(codes).toMatchObject(Array.from({ length: 4 }, () => ({ code: 'deadline_exceeded' })));
  deaf.close();
});

test('a program that cannot be started fails the request', async () => {
  const command = ['sh', '-c', 'exec no-such-program-anywhere 2>&1'];
  const none = new Coprocess({ name: 'the test', command, deadlineMs: 5_000, isLast: (line) => line === 'end' });
  await expect(none.request('hello')).rejects.toMatchObject({
    message: 'the test has ended without an answer',
    cause: { message: expect.stringContaining('no-such-program-anywhere') as string },
  });
  const nothing = new Coprocess({
    name: 'the test',
    command: ['no-such-program'],
    deadlineMs: 5_000,
    isLast: () => true,
  });
  await expect(nothing.request('hello')).rejects.toThrow('the test has ended without an answer');
});

test('closing fails pending requests, and may be repeated', async () => {
  const asked = companion.request('sleep');
  companion.close();
  companion.close();
  await expect(asked).rejects.toThrow('has ended without an answer');
});
