/**
 * The order in which a run's test files are started: the longest first, so that no worker is left alone with one at the
 * end. A fresh clone has no recorded durations, so the long ones are listed here; all others follow in vitest's order.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take 15 s or more, the longest first. */
const LONGEST = [
  'test/compat/prime/clients.test.ts',
  'test/contract/every-door.test.ts',
  'test/e2e/partition.test.ts',
  'test/compat/prime/verifiers.test.ts',
  'test/e2e/rolling.test.ts',
  'test/chaos/chaos.test.ts',
  'test/integration/oci-network/network.test.ts',
  'test/integration/redis/outage.test.ts',
  'test/integration/discovery/real-api-server.test.ts',
  'test/deploy/install.test.ts',
  'test/integration/oci/contract.test.ts',
  'test/compat/prime/dying.test.ts',
  'test/e2e/jobs.test.ts',
  'test/e2e/stalls.test.ts',
  'test/integration/gvisor/contract.test.ts',
  'test/integration/discovery/real-gateway.test.ts',
  'test/compat/prime/many.test.ts',
  'test/integration/gvisor/network.test.ts',
  'test/contract/docker.test.ts',
  'test/e2e/gateways.test.ts',
  'test/integration/oci/network.test.ts',
  'test/e2e/two-nodes.test.ts',
  'test/e2e/drain.test.ts',
];

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const others = await super.sort(files);
    const place = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((path) => moduleId.endsWith(path));
      return at < 0 ? LONGEST.length : at;
    };
    return others.toSorted((a, b) => place(a) - place(b));
  }
}
