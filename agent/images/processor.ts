/** This machine's processor, and the others whose programs it runs. */
import { ToolError } from '../run-tool.ts';

/** Architecture, as images name it → others whose programs it also runs. */
const ALSO_RUNS: Readonly<Record<string, readonly string[]>> = {
  amd64: ['386'],
  arm64: ['arm'],
  386: [],
  arm: [],
  loong64: [],
  ppc64le: [],
  riscv64: [],
  s390x: [],
};
/** This machine's architecture, as images name it. */
export const OUR_PROCESSOR = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }[process.arch as string] ?? process.arch;

/** Some tools write a value of their own, or none. */
export function runsHere(os: string | null | undefined, architecture: string | null | undefined): boolean {
  if (os === 'windows') return false;
  const known = ALSO_RUNS[architecture ?? ''] !== undefined;
  return !known || architecture === OUR_PROCESSOR || ALSO_RUNS[OUR_PROCESSOR]?.includes(architecture ?? '') === true;
}

/** skopeo's words for an index that has no image for the processor it looks for. */
export const isForOthers = (error: unknown): boolean =>
  error instanceof ToolError && /no image found in (manifest list|image index)/i.test(error.output);

/**
 * Runs skopeo, with the flags it is given, for the images of an index that are for this processor, or else for one
 * whose programs it also runs: many 32-bit images are in an index that has no other.
 */
export async function forProcessor<T>(skopeo: (flags: readonly string[]) => Promise<T>): Promise<T> {
  try {
    return await skopeo([]);
  } catch (error) {
    if (!isForOthers(error)) throw error;
    for (const other of ALSO_RUNS[OUR_PROCESSOR] ?? []) {
      try {
        return await skopeo([`--override-arch=${other}`]);
      } catch (again) {
        if (!isForOthers(again)) throw again;
      }
    }
    throw error;
  }
}
