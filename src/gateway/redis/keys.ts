/** Names of all that gateways share in Redis. One hash tag, so that a cluster keeps it on one shard. */
const TAG = '{millibox}';

export const KEYS = {
  /** Hash: sandboxes that wait for a node, by id. */
  waiting: `${TAG}:waiting`,
  /** Hash: how many of them are of each tenant. */
  places: `${TAG}:places`,
  /** Hash: records of those that ended before a node had them, by id. */
  ended: `${TAG}:ended`,
  /** Sorted set: when they ended, by id. */
  endedAt: `${TAG}:ended-at`,
  /** A name for all that is here, given once: another name, and what was here before is lost. */
  era: `${TAG}:era`,
  /** Counts the messages of the feed. */
  sequence: `${TAG}:sequence`,
  /** Channel. Channels know no databases, so the number is part of the name. */
  feed: (db: number) => `${TAG}:feed:${db}`,
  /** The node that a sandbox was sent to last. */
  owner: (id: string) => `${TAG}:owner:${id}`,
  idempotency: (digest: string) => `${TAG}:idempotency:${digest}`,
  /** Hash: what each sandbox of a tenant takes that no node has yet, by id; and sorted set: until when it counts. */
  claims: (tenant: string) => `${TAG}:claims:${tenant}`,
  claimEnds: (tenant: string) => `${TAG}:claim-ends:${tenant}`,
  /** Hash: how many claims a tenant has, and what they come to. */
  claimSums: (tenant: string) => `${TAG}:claim-sums:${tenant}`,
  /** When a tenant's bucket of creates is full again. */
  bucket: (tenant: string) => `${TAG}:bucket:${tenant}`,
  /** Hash: commands in hand by tenant, of each gateway; and sorted set: until when that counts. */
  commands: `${TAG}:commands`,
  commandEnds: `${TAG}:command-ends`,
  /** The same of what each gateway sees that tenants have. */
  sights: `${TAG}:sights`,
  sightEnds: `${TAG}:sight-ends`,
  /** Written by every gateway, to see that it can be. */
  probe: `${TAG}:probe`,
  lease: (role: string) => `${TAG}:lease:${role}`,
  term: (role: string) => `${TAG}:term:${role}`,
} as const;

/** BullMQ's own keys begin with it. */
export const BULL_PREFIX = `${TAG}:bull`;
