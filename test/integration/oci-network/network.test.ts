/** The network of sandboxes next to an engine's firewall, through restarts of the firewall and the agent. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacking, METADATA, World } from './world.ts';

const missing = await lacking();
const because = missing === '' ? '' : ` (skipped: there is no ${missing})`;

/** What a sandbox with a network can reach. */
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

  test('the stand-ins answer the node itself: targets that a sandbox cannot reach are blocked, not missing', async () => {
    const probe = `require('node:net').connect(80, '${METADATA}').on('data', (d) => process.stdout.write(d))`;
    expect(await world.onNode(process.execPath, '-e', probe)).toBe('hello');
  });

  test('nothing is set up before the first sandbox needs it', () => {
    expect(report['before']).toBe(false);
  });

  test('each sandbox has its own address, across all agents', () => {
    expect(report['distinct']).toBe(3);
  });

  test('the world is reachable although the engine forwards nothing; all else is blocked', () => {
    expect(report['first']).toEqual(ONLINE);
  });

  test('without a veth nothing can be reached', () => {
    const closed = Object.fromEntries(Object.keys(ONLINE).map((name) => [name, 'closed']));
    expect(report['cut off']).toEqual(closed);
  });

  test('removed rules are restored', () => {
    expect(report['after a flush']).toEqual(ONLINE);
  });

  test('a firewall unknown to the agent blocks the way out, and the agent reports it once', () => {
    expect(report['dropped']).toEqual({ public: 'closed' });
    expect(report['errors']).toEqual([expect.stringMatching(/another firewall of this node drops/)]);
  });

  test('a sandbox that opens connections endlessly gets its share of connection tracking, and no more', () => {
    expect(report['scattered']).toBeGreaterThan(1_000);
    expect(report['scattered']).toBeLessThan(5_000);
    expect(report['beside it']).toEqual({ public: 'open', resolverByUdp: 'open' });
  });

  test('the next agent continues with what the previous one left', () => {
    expect(report['adopted']).toBe(true);
    expect(report['after a restart']).toEqual({ public: 'open', metadata: 'closed' });
    expect(report['late']).toEqual({ public: 'open', neighbour: 'closed' });
  });

  test('bridge and rules stay while in use, and are removed afterwards', () => {
    expect(report['kept while in use']).toBe(true);
    expect(report['disconnected']).toEqual({ public: 'closed' });
    expect(report['left']).toEqual([false, false, false]);
  });
});
