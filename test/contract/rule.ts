/** Where a rule of the contract is tried: one door, one sandbox. */
import { test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import type { TestStack } from '../helpers/stack.ts';
import type { Capability, Door } from './door.ts';
import { runtimeLacks, type RuntimeCapability } from './runtime.ts';

/** Filled before the first rule runs. */
export interface Scene {
  stack: TestStack;
  door: Door;
  /** Shared by the rules, and looked into with the SDK, whichever door is tried. */
  sandbox: Sandbox;
  /** Its id. */
  id: string;
  /** In names of files and the like: no two doors meet. */
  mark: string;
}

/** Bounds a hang; nothing is ever so slow. */
export const LIMIT_MS = 120_000;

/** One rule. A door that cannot say what it is about, or a runtime that cannot keep it, skips it with the reason. */
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

/** What a promise was rejected with: its code, or a word for what it was instead. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    return `no error but ${JSON.stringify(await work)}`;
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    return typeof code === 'string' ? code : String(error);
  }
}
