/** Bytes on the wire, decoded to text only at its end; caps that are reported; streams that are never truncated. */
import { expect } from 'vitest';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';
import type { Piece } from '../door.ts';

const PIECES = `
import os
for round in range(50):
    for size in (1, 7, 4095, 65537):
        os.write(1, bytes((round + i) % 251 for i in range(64)) * (size // 64 + 1))
        os.write(2, b"e" * size)
`;
const SLOW_TEXT = `
import os
for byte in ("é中😀" * 100).encode():
    os.write(1, bytes([byte])); os.write(2, bytes([byte]))
`;
const EVERY_BYTE = `
import os
for fd in (1, 2): os.write(fd, bytes(range(256)) * 256)
`;

export function output(scene: Scene): void {
  rule(scene, 'every byte value survives, on both streams', [], async ({ door, id }) => {
    const { stdout, stderr } = await door.runBytes(id, ['python3', '-c', EVERY_BYTE]);
    const expected = Buffer.alloc(65_536, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
    expect(stdout.equals(expected)).toBe(true);
    expect(stderr.equals(expected)).toBe(true);
  });

  rule(scene, 'chunks of any size on both streams arrive byte for byte', [], async ({ door, id }) => {
    const expected = Buffer.concat(
      Array.from({ length: 50 }, (_, round) => {
        const block = Buffer.from(Array.from({ length: 64 }, (_, i) => (round + i) % 251));
        return Buffer.concat(
          [1, 7, 4095, 65537].map((size) => Buffer.alloc((Math.floor(size / 64) + 1) * block.length, block)),
        );
      }),
    );
    const { stdout, stderr } = await door.runBytes(id, ['python3', '-c', PIECES], { timeoutMs: LIMIT_MS });
    expect(stdout.equals(expected)).toBe(true);
    expect(stderr.equals(Buffer.alloc(50 * (1 + 7 + 4095 + 65537), 'e'))).toBe(true);
  });

  rule(scene, 'a character is never split, and the streams share no decoder', [], async ({ door, id }) => {
    const { stdout, stderr } = await door.run(id, ['python3', '-c', SLOW_TEXT]);
    expect(stdout).toBe('é中😀'.repeat(100));
    expect(stderr).toBe('é中😀'.repeat(100));
  });

  rule(scene, 'chunk boundaries add no line breaks and drop no blank lines', [], async ({ door, id }) => {
    const { stdout } = await door.run(id, `printf 'Hello, wo'; sleep 0.3; printf 'rld\\n\\n\\nend'`);
    expect(stdout).toBe('Hello, world\n\n\nend');
  });

  rule(scene, 'each line stays on its stream, in order', ['live'], async ({ door, id }) => {
    const command = 'for i in $(seq 1 30); do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done';
    const live = await door.live!(id, command);
    await live.ended;
    const lines = (wanted: Piece['channel']): string[] =>
      Buffer.concat(live.pieces.filter(({ channel }) => channel === wanted).map(({ bytes }) => bytes))
        .toString()
        .trimEnd()
        .split('\n');
    const numbers = Array.from({ length: 30 }, (_, i) => i + 1);
    expect(lines('stdout')).toEqual(numbers.map((i) => `o${i}`));
    expect(lines('stderr')).toEqual(numbers.map((i) => `e${i}`));
  });

  rule(scene, 'a stream is never truncated, only held back', ['live'], async ({ door, id }) => {
    const live = await door.live!(id, `head -c 20000000 /dev/zero | tr '\\0' s; exit 4`);
    expect((await live.ended).exitCode).toBe(4);
    const bytes = Buffer.concat(live.pieces.map((piece) => piece.bytes));
    expect(bytes.length).toBe(20_000_000);
    expect(bytes.equals(Buffer.alloc(20_000_000, 's'))).toBe(true);
  });

  rule(
    scene,
    'a result is cut at its cap with a flag, the totals and the true exit, and harms nobody',
    ['cap'],
    async ({ door, id, stack }) => {
      const other = await stack.client.sandboxes.create({ memoryMb: 64 });
      const alive = other.exec('sleep 2; echo alive');
      const pids = [stack.gatewayPid, ...stack.agentPids];
      const outcome = await door.run(id, `head -c 100000000 /dev/zero | tr '\\0' a; exit 9`, {
        maxOutputBytes: 1_000_000,
        timeoutMs: LIMIT_MS,
      });
      expect(outcome).toMatchObject({
        exitCode: 9,
        truncated: { stdout: true, stderr: false },
        stdoutBytes: 100_000_000,
      });
      expect(outcome.stdout.length).toBe(1_000_000);
      expect((await alive).stdout).toBe('alive\n');
      expect([stack.gatewayPid, ...stack.agentPids]).toEqual(pids);
      await other.delete();
    },
  );

  rule(scene, 'a cap splits no character', ['cap'], async ({ door, id }) => {
    const program = 'import sys; sys.stdout.write("€" * 1000)';
    const outcome = await door.run(id, ['python3', '-c', program], { maxOutputBytes: 1_000 });
    expect(outcome).toMatchObject({ stdout: '€'.repeat(333), truncated: { stdout: true }, stdoutBytes: 3_000 });
  });
}
