/**
 * A process that keeps pulling and removing images, so that a test can kill it: its arguments are the store's directory
 * and the references.
 */
import { ImageStore } from '../../../agent/images/image-store.ts';
import { silent } from '../../../src/lib/logger.ts';

const [dir = '', ...refs] = process.argv.slice(2);
const store = await ImageStore.open({ dir, registry: { mirrors: {}, insecure: [] }, log: silent });
for (;;) {
  await Promise.all(refs.map((ref) => store.ensure(ref, {})));
  await Promise.all(refs.map((ref) => store.remove(ref)));
}
