/** Mounts a container's root on the host, because runsc serves host files and cannot mount a kernel overlay. */
import { runTool } from '../../run-tool.ts';
import { mountPointsBelow } from '../oci/disk.ts';

const TOOL_MS = 20_000;

/** `volatile`: no sandbox survives a reboot, so nothing need be synced. */
export async function mountRoot(root: string, layers: readonly string[], upper: string, work: string): Promise<void> {
  const options = `lowerdir=${layers.join(':')},upperdir=${upper},workdir=${work},volatile`;
  await runTool('mount', ['-t', 'overlay', 'overlay', '-o', options, root], { deadlineMs: TOOL_MS });
}

/** No effect if nothing is mounted. */
export async function unmountBelow(dir: string): Promise<void> {
  for (const point of mountPointsBelow(dir)) {
    await runTool('umount', ['--lazy', point], { deadlineMs: TOOL_MS }).catch(() => undefined);
  }
}
