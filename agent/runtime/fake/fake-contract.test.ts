import { runtimeContract } from '../contract/suite.ts';
import type { ContainerRuntime } from '../runtime.ts';
import { FakeRuntime } from './fake-runtime.ts';

runtimeContract({
  name: 'fake',
  open: () => Promise.resolve(new FakeRuntime()),
  image: 'image',
  failing: [
    { ref: 'missing/image', code: 'image_not_found' },
    { ref: 'unauthorized/image', code: 'image_unauthorized' },
    { ref: 'unreachable/image', code: 'image_unreachable' },
    { ref: 'invalid/image', code: 'image_invalid' },
  ],
  linux: false,
  kill: (runtime: ContainerRuntime, id: string) => {
    (runtime as FakeRuntime).kill(id);
    return Promise.resolve();
  },
});

runtimeContract({
  name: 'fake with blanks',
  open: () => Promise.resolve(new FakeRuntime({ imageAgnostic: true })),
  image: 'image',
  failing: [],
  linux: false,
  kill: (runtime: ContainerRuntime, id: string) => {
    (runtime as FakeRuntime).kill(id);
    return Promise.resolve();
  },
});
