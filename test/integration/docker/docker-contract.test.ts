import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openDockerRuntime } from '../../../agent/runtime/docker/open.ts';
import { runtimeContract } from '../../../agent/runtime/contract/suite.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { silent } from '../../../src/lib/logger.ts';
import { baseImage } from '../../helpers/images.ts';

const run = promisify(execFile);

runtimeContract({
  name: 'docker',
  open: (dataDir) =>
    openDockerRuntime({
      nodeName: 'test',
      dataDir,
      boxinitPath: boxinitPath(),
      dockerSocket: '/var/run/docker.sock',
      runtime: 'docker',
      log: silent,
    }),
  image: baseImage(),
  // Names that are wrong in themselves, and a registry on a port where none is: nothing leaves the machine.
  failing: [
    { ref: 'UPPER/case', code: 'image_invalid' },
    { ref: '127.0.0.1:1/image:tag', code: 'image_unreachable' },
  ],
  linux: true,
  kill: async (_runtime, id) => {
    await run('docker', ['kill', '--signal', 'KILL', id]);
  },
});
