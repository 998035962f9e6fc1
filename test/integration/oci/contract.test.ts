import { openOciRuntime } from '../../../agent/runtime/oci/open.ts';
import { runtimeContract } from '../../../agent/runtime/contract/suite.ts';
import { killPid } from '../../../agent/runtime/oci/pids.ts';
import { OciRuntime } from '../../../agent/runtime/oci/oci-runtime.ts';
import { baseImage } from '../../helpers/images.ts';
import { ociConfig } from './subject.ts';

runtimeContract({
  name: 'oci',
  open: (dataDir) => openOciRuntime(ociConfig(dataDir)),
  image: baseImage(),
  // Names that are wrong in themselves, and a registry on a port where none is: nothing leaves the machine.
  failing: [
    { ref: 'UPPER/case', code: 'image_invalid' },
    { ref: '127.0.0.1:1/image:tag', code: 'image_unreachable' },
  ],
  linux: true,
  kill: (runtime, id) => {
    const pid = runtime instanceof OciRuntime ? runtime.processOf(id)?.pid : undefined;
    if (pid !== undefined) killPid(pid);
    return Promise.resolve();
  },
});
