import { runtimeContract } from '../../../agent/runtime/contract/suite.ts';
import { ociSubject } from './subject.ts';

runtimeContract(ociSubject());
runtimeContract({ ...ociSubject({ nursery: false }), name: 'oci, one run of the runtime for each container' });
