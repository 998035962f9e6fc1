/** A process that pulls an image, so that a test can kill it: arguments are the store's directory and the reference. */
import { ImageStore } from '../../../agent/images/image-store.ts';
import { silent } from '../../../src/lib/logger.ts';

const [dir = '', ref = ''] = process.argv.slice(2);
const store = await ImageStore.open({ dir, registry: { mirrors: {}, insecure: [] }, log: silent });
await store.ensure(ref, {});
