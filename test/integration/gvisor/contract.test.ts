import { runtimeContract } from '../../../agent/runtime/contract/suite.ts';
import { gvisorSubject } from './subject.ts';

runtimeContract(gvisorSubject());
