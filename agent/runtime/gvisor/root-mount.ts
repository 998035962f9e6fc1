/** The root of a container, mounted on the host: runsc hands files of the host in, and does not mount an overlay of the kernel's. */
import { runTool } from '../../images/run-tool.ts';
import { mountPointsBelow } from '../oci/disk.ts';

const TOOL_MS = 20_000;

/** Nothing of a sandbox outlives the machine: nothing need be forced to disk. */
export async function mountRoot(root: string, layers: readonly string[], upper: string, work: string): Promise<void> {
  const options = `lowerdir=${layers.join(':')},upperdir=${upper},workdir=${work},volatile`;
  await runTool('mount', ['-t', 'overlay', 'overlay', '-o', options, root], { deadlineMs: TOOL_MS });
}

/** Nothing happens where nothing is mounted. */
export async function unmountBelow(dir: string): Promise<void> {
  for (const point of mountPointsBelow(dir)) {
    await runTool('umount', ['--lazy', point], { deadlineMs: TOOL_MS }).catch(() => undefined);
  }
}
