/**
 * Names of everything that gateways share in Redis. They have one hash tag, so that a cluster keeps it all on one
 * shard.
 */
const TAG = '{millibox}';

export const KEYS = {
  /** Hash: sandboxes that wait for a node, by id. */
  waiting: `${TAG}:waiting`,
  /** Hash: number of waiting sandboxes, by tenant. */
  places: `${TAG}:places`,
  /** Hash: records of sandboxes that ended before a node had them, by id. */
  ended: `${TAG}:ended`,
  /** Sorted set: when they ended, by id. */
  endedAt: `${TAG}:ended-at`,
  /** A random name for this data set, assigned once. A different name means that the earlier data is lost. */
  era: `${TAG}:era`,
  /** Counts the messages of the feed. */
  sequence: `${TAG}:sequence`,
  /** Channel. Channels know no databases, so the number is part of the name. */
  feed: (db: number) => `${TAG}:feed:${db}`,
  /** The node that a sandbox was last sent to. */
  owner: (id: string) => `${TAG}:owner:${id}`,
  idempotency: (digest: string) => `${TAG}:idempotency:${digest}`,
  /**
   * Hash: resources of each admitted sandbox of a tenant that no node has yet, by id; sorted set: when claims expire.
   */
  claims: (tenant: string) => `${TAG}:claims:${tenant}`,
  claimEnds: (tenant: string) => `${TAG}:claim-ends:${tenant}`,
  /** Hash: number and sums of a tenant's claims. */
  claimSums: (tenant: string) => `${TAG}:claim-sums:${tenant}`,
  /** When a tenant's bucket of creates is full again. */
  bucket: (tenant: string) => `${TAG}:bucket:${tenant}`,
  /** Hash: each gateway's running commands by tenant; sorted set: when these reports expire. */
  commands: `${TAG}:commands`,
  commandEnds: `${TAG}:command-ends`,
  /** Likewise each gateway's snapshot of the tenants' usage. */
  sights: `${TAG}:sights`,
  sightEnds: `${TAG}:sight-ends`,
  /** Written by every gateway to check that Redis accepts writes. */
  probe: `${TAG}:probe`,
  lease: (role: string) => `${TAG}:lease:${role}`,
  term: (role: string) => `${TAG}:term:${role}`,
} as const;

/** Prefix of BullMQ's own keys. */
export const BULL_PREFIX = `${TAG}:bull`;
