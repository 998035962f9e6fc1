/** The network of sandboxes beside an engine's firewall, through a firewall's restart and the agent's own. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacking, METADATA, World } from './world.ts';

const missing = await lacking();
const because = missing === '' ? '' : ` (skipped: there is no ${missing})`;

/** What a sandbox with a network reaches. */
const ONLINE = {
  public: 'open',
  resolver: 'open',
  resolverByUdp: 'open',
  otherPortOfResolver: 'closed',
  metadata: 'closed',
  private: 'closed',
  udpElsewhere: 'closed',
  neighbour: 'closed',
  ofAnotherAgent: 'closed',
  itself: 'open',
};

describe.skipIf(missing !== '')(`two agents on one machine${because}`, () => {
  let world: World;
  let report: Record<string, unknown>;

  beforeAll(async () => {
    world = await World.make();
    report = JSON.parse(
      await world.onNode(process.execPath, path.join(import.meta.dirname, 'node.ts')),
    ) as typeof report;
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  test('the stand-ins answer the node itself: what a sandbox does not reach is refused, not missing', async () => {
    const probe = `require('node:net').connect(80, '${METADATA}').on('data', (d) => process.stdout.write(d))`;
    expect(await world.onNode(process.execPath, '-e', probe)).toBe('hello');
  });

  test('nothing is set up before the first sandbox wants it', () => {
    expect(report['before']).toBe(false);
  });

  test('each sandbox has an address of its own, over all agents', () => {
    expect(report['distinct']).toBe(3);
  });

  test('the world is open although the engine lets nothing through; all else is closed', () => {
    expect(report['first']).toEqual(ONLINE);
  });

  test('who has no cable reaches nothing', () => {
    const closed = Object.fromEntries(Object.keys(ONLINE).map((name) => [name, 'closed']));
    expect(report['cut off']).toEqual(closed);
  });

  test('rules that somebody took away come back', () => {
    expect(report['after a flush']).toEqual(ONLINE);
  });

  test('a firewall of which nobody told the agent closes the way out, and the agent says so, once', () => {
    expect(report['dropped']).toEqual({ public: 'closed' });
    expect(report['errors']).toEqual([expect.stringMatching(/another firewall of this node drops/)]);
  });

  test('one that begins connections without end takes its share of what the node knows of, and no more', () => {
    expect(report['scattered']).toBeGreaterThan(1_000);
    expect(report['scattered']).toBeLessThan(5_000);
    expect(report['beside it']).toEqual({ public: 'open', resolverByUdp: 'open' });
  });

  test('the next agent goes on with what the last one left', () => {
    expect(report['adopted']).toBe(true);
    expect(report['after a restart']).toEqual({ public: 'open', metadata: 'closed' });
    expect(report['late']).toEqual({ public: 'open', neighbour: 'closed' });
  });

  test('bridge and rules stay while they are in use, and are gone afterwards', () => {
    expect(report['kept while in use']).toBe(true);
    expect(report['disconnected']).toEqual({ public: 'closed' });
    expect(report['left']).toEqual([false, false, false]);
  });
});
