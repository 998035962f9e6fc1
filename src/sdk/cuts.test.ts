import { describe, expect, it } from 'vitest';
import type { Transport } from '../mux/index.ts';
import { Connection } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { ExecHandle } from './exec/handle.ts';
import { FakeGateway } from './testing/fake-gateway.ts';
import { HttpClient } from './http.ts';

const NOWHERE = new Endpoints(['http://127.0.0.1:1']);
const CUTS = 1_000;
const AT_ONCE = 6;
const OUT_BYTES = 90_000;
const IN_BYTES = 60_000;

/** A seeded generator: a failure can be reproduced. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pattern = (n: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: n }, (_, i) => (i * seed) >>> 5));

/** Lets `budget` bytes through, in both directions together, delivers part of the last chunk, and breaks. */
function breaking(inner: Transport, budget: number, cut: () => void): Transport {
  let left = budget;
  const spend = (bytes: number): boolean => {
    left -= bytes;
    return left >= 0;
  };
  return {
    send: (bytes, sent) => {
      if (spend(bytes.length)) return inner.send(bytes, sent);
      inner.send(bytes.subarray(0, Math.max(0, bytes.length + left)), () => undefined);
      queueMicrotask(cut);
    },
    start: (onBytes, onClose) =>
      inner.start((chunk) => {
        if (spend(chunk.length)) return onBytes(chunk);
        onBytes(chunk.subarray(0, Math.max(0, chunk.length + left)));
        queueMicrotask(cut);
      }, onClose),
    close: (error) => inner.close(error),
  };
}

describe('a link that is cut a thousand times, at any byte', { timeout: 240_000 }, () => {
  it('loses no byte of output or stdin, gets every exit right and runs nothing twice', async () => {
    const next = random(20_260_101);
    const gateway = new FakeGateway(async (p) => {
      const out = pattern(OUT_BYTES, Number(p.request['env'] && (p.request['env'] as Record<string, string>)['SEED']));
      for (let at = 0; at < out.length; at += 4_000) {
        void p.write('stdout', out.subarray(at, at + 4_000));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await p.write('stderr', await p.stdinEnded);
      p.exit(7);
    });
    let cuts = 0;
    const connection = new Connection({
      dial: async (signal, url) => {
        const transport = await gateway.dial(signal, url);
        const link = gateway.links.at(-1)!;
        const budget = Math.floor(next() ** 2 * 60_000);
        let broken = false;
        return breaking(transport, budget, () => {
          if (broken) return;
          broken = true;
          cuts += 1;
          link.cut();
        });
      },
      endpoints: NOWHERE,
      patienceMs: 60_000,
    });
    const http = new HttpClient({ endpoints: NOWHERE, apiKey: undefined, userAgent: 'test' });
    let runs = 0;
    const one = async (): Promise<void> => {
      const seed = 3 + 2 * runs++;
      const stdin = pattern(IN_BYTES, seed + 1);
      const deps = { http, connection, sandbox: 's', resumeMs: 60_000 };
      const result = await new ExecHandle(deps, 'x', { stdin, encoding: 'bytes', env: { SEED: String(seed) } });
      expect(result.exitCode).toBe(7);
      expect(result.stdout.equals(pattern(OUT_BYTES, seed))).toBe(true);
      expect(result.stderr.equals(stdin)).toBe(true);
    };
    while (cuts < CUTS) await Promise.all(Array.from({ length: AT_ONCE }, one));
    expect(gateway.starts).toBe(runs);
    connection.close();
    await http.close();
  });
});
