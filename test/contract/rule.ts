/** Where a rule of the contract is tested: one door, one sandbox. */
import { test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import type { TestStack } from '../helpers/stack.ts';
import type { Capability, Door } from './door.ts';
import { runtimeLacks, type RuntimeCapability } from './runtime.ts';

/** Filled before the first rule runs. */
export interface Scene {
  stack: TestStack;
  door: Door;
  /** Shared by the rules, and inspected with the SDK, whichever door is being tested. */
  sandbox: Sandbox;
  /** Its id. */
  id: string;
  /** Makes names of files and the like unique per door. */
  mark: string;
}

/** Bounds a hang; nothing is ever this slow. */
export const LIMIT_MS = 120_000;

/** One rule. Skipped, with the reason, for a door that cannot express it or a runtime that cannot keep it. */
export function rule(
  scene: Scene,
  name: string,
  needs: readonly (Capability | RuntimeCapability)[],
  body: (scene: Scene) => Promise<void>,
): void {
  test(name, { timeout: 2 * LIMIT_MS }, async (context) => {
    const lacks: Partial<Record<string, string>> = { ...scene.door.lacks, ...runtimeLacks() };
    for (const capability of needs) {
      const why = lacks[capability];
      if (why !== undefined) context.skip(why);
    }
    await body(scene);
  });
}

/** The code that a promise was rejected with, or a word for any other outcome. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    return `no error but ${JSON.stringify(await work)}`;
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    return typeof code === 'string' ? code : String(error);
  }
}
