/** An image of any size, or one that claims to be small, does not fill the disk that all sandboxes write to. */
import { statfs } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';

const LOOK_EVERY_MS = 500;

/**
 * Does `work` while `minFreeBytes` are left on the file system of `dir`, and aborts its signal once they are not.
 * @throws ServiceError `capacity_exhausted`, or what `work` throws.
 */
export async function whileThereIsRoom<T>(
  dir: string,
  minFreeBytes: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const follow = (): void => abort.abort(signal?.reason);
  const look = async (): Promise<void> => {
    const { bavail, bsize } = await statfs(dir);
    if (bavail * bsize >= minFreeBytes) return;
    abort.abort(new ServiceError('capacity_exhausted', "there is no room for the image on the node's disk"));
  };
  if (signal?.aborted) follow();
  else signal?.addEventListener('abort', follow, { once: true });
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
  try {
    await look();
    abort.signal.throwIfAborted();
    return await work(abort.signal);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', follow);
  }
}
