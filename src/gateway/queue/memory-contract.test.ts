import { queueContract } from './contract.ts';
import { MemoryQueue } from './memory-queue.ts';

queueContract({
  name: 'memory',
  open(max) {
    const queue = new MemoryQueue({ max });
    return Promise.resolve({ queue, close: () => Promise.resolve(queue.stop()) });
  },
});
