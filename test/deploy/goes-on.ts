/** A command that runs while something happens to the service. */
import type { Sandbox } from '../../src/sdk/index.ts';

const LIMIT_MS = 180_000;
const LINES = 15;
const SCRIPT = `i=0; while [ $i -lt ${LINES} ]; do i=$((i + 1)); echo $i; sleep 1; done; exit 5`;

/**
 * @returns `whole` if no line is missing, none is duplicated, and it ended as it should; otherwise what was received.
 */
export async function goesOn(sandbox: Sandbox, during: () => Promise<unknown>): Promise<string> {
  const exec = sandbox.exec(SCRIPT, { timeoutMs: LIMIT_MS });
  await exec.started;
  await during();
  const { stdout, exitCode } = await exec.result;
  const expected = Array.from({ length: LINES }, (_, line) => `${line + 1}\n`).join('');
  return stdout === expected && exitCode === 5 ? 'whole' : `${exitCode} ${JSON.stringify(stdout)}`;
}
