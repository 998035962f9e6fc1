import { afterEach, expect, test } from 'vitest';
import { Liveness } from './liveness.ts';

const INTERVAL_MS = 1_000;

/** A link on a clock that the test controls: no timer turn happens unless the test takes it. */
class World {
  now = 0;
  bytesIn = 0;
  pings = 0;
  /** Whether the peer answers heartbeats. */
  answers = true;
  dead: string | null = null;
  readonly liveness = new Liveness({
    intervalMs: INTERVAL_MS,
    deadAfterMs: 4_000,
    answerWithinMs: 8_000,
    bytesIn: () => this.bytesIn,
    ping: (payload) => {
      this.pings += 1;
      if (!this.answers) return;
      this.bytesIn += payload.length;
      const pong = new Uint8Array(payload);
      queueMicrotask(() => this.liveness.pong(pong));
    },
    dead: (why) => (this.dead ??= why),
    now: () => this.now,
  });

  async turn(tookMs = INTERVAL_MS): Promise<void> {
    this.now += tookMs;
    this.liveness.turn();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let world: World;
afterEach(() => world.liveness.stop());

test('an idle link whose peer answers stays alive, with one heartbeat per interval', async () => {
  world = new World();
  for (let i = 0; i < 50; i++) await world.turn();
  expect(world.dead).toBeNull();
  expect(world.pings).toBe(50);
  expect(world.liveness.late).toBe(0);
});

test('a silent peer is found dead in bounded time', async () => {
  world = new World();
  for (let i = 0; i < 10; i++) await world.turn();
  world.answers = false;
  let turns = 0;
  while (world.dead === null && turns < 20) {
    await world.turn();
    turns += 1;
  }
  expect(world.dead).toContain('nothing came');
  expect(turns).toBeLessThanOrEqual(6);
  expect(world.liveness.late).toBe(1);
});

test("a link that carries only the peer's bytes is found dead too: heartbeats get no answer", async () => {
  world = new World();
  world.answers = false;
  let turns = 0;
  while (world.dead === null && turns < 20) {
    world.bytesIn += 100;
    await world.turn();
    turns += 1;
  }
  expect(world.dead).toContain('heartbeat');
  expect(turns).toBeLessThanOrEqual(10);
});

test('time during which this process was stalled is not held against the peer', async () => {
  world = new World();
  world.answers = false;
  for (let i = 0; i < 100; i++) await world.turn(60_000);
  expect(world.dead).toBeNull();
  expect(world.liveness.late).toBe(0);
});

test('bytes that wait in the socket when the verdict is due are read first', async () => {
  world = new World();
  world.answers = false;
  for (let i = 0; i < 3; i++) await world.turn();
  world.now += INTERVAL_MS;
  world.liveness.turn();
  world.bytesIn += 1;
  await new Promise((resolve) => setImmediate(resolve));
  expect(world.dead).toBeNull();
});

test('a stopped link is not declared dead', async () => {
  world = new World();
  world.answers = false;
  for (let i = 0; i < 3; i++) await world.turn();
  world.now += INTERVAL_MS;
  world.liveness.turn();
  world.liveness.stop();
  await new Promise((resolve) => setImmediate(resolve));
  expect(world.dead).toBeNull();
});
