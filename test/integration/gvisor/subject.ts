/** gVisor as opened by the contract suite and the tests here. */
import { GvisorRuntime } from '../../../agent/runtime/gvisor/gvisor-runtime.ts';
import { openGvisorRuntime } from '../../../agent/runtime/gvisor/open.ts';
import { killPid } from '../../../agent/runtime/oci/pids.ts';
import type { ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import type { RuntimeConfig } from '../../../agent/runtime/select.ts';
import { ociConfig, ociSubject } from '../oci/subject.ts';

export const gvisorSubject = (changes: Partial<NonNullable<RuntimeConfig['oci']>> = {}): ContractSubject => ({
  ...ociSubject(),
  name: 'gvisor',
  open: (dataDir) => {
    const config = ociConfig(dataDir);
    const oci = config.oci === undefined ? {} : { oci: { ...config.oci, ...changes } };
    return openGvisorRuntime({ ...config, runtime: 'gvisor', ...oci });
  },
  // docs/runtimes.md.
  otherwise: ['filters', 'process 1', 'memory'],
  kill: (runtime, id) => {
    const pid = runtime instanceof GvisorRuntime ? runtime.processOf(id)?.pid : undefined;
    if (pid !== undefined) killPid(pid);
    return Promise.resolve();
  },
});
