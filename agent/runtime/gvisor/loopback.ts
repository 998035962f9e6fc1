/** The loopback of a container with a network: gVisor makes its own only where it is told of no device at all. */
import { runTool } from '../../images/run-tool.ts';

const TOOL_MS = 20_000;

/** In the network namespace of this process, before the container starts. @throws ToolError. */
export async function raiseLoopback(pid: number): Promise<void> {
  const command = [`--net=/proc/${pid}/ns/net`, 'ip', 'link', 'set', 'lo', 'up'];
  await runTool('nsenter', command, { deadlineMs: TOOL_MS });
}
