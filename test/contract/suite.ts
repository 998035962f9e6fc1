/** The complete exec contract, for one door. Design and reasons: docs/api.md and docs/protocol.md. */
import { afterAll, beforeAll, describe } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import type { TestStack } from '../helpers/stack.ts';
import { completion } from './chapters/completion.ts';
import { jobs } from './chapters/jobs.ts';
import { limits } from './chapters/limits.ts';
import { neverRan } from './chapters/never-ran.ts';
import { output } from './chapters/output.ts';
import { parallel } from './chapters/parallel.ts';
import { result } from './chapters/result.ts';
import { resume } from './chapters/resume.ts';
import { stdin } from './chapters/stdin.ts';
import { text } from './chapters/text.ts';
import type { MakeDoor } from './door.ts';
import type { Scene } from './rule.ts';

export interface Ground {
  stack: TestStack;
  sandbox: Sandbox;
}

/** @param ground where to run; called once the tests run */
export function execContract(name: string, make: MakeDoor, ground: () => Ground): void {
  describe(`through ${name}`, () => {
    const scene = {} as Scene;
    beforeAll(() => {
      const { stack, sandbox } = ground();
      const mark = name.toLowerCase();
      Object.assign(scene, { stack, sandbox, id: sandbox.id, door: make(stack), mark } satisfies Scene);
    });
    afterAll(() => scene.door?.[Symbol.asyncDispose]());

    describe('a result', () => result(scene));
    describe('completion', () => completion(scene));
    describe('the command', () => text(scene));
    describe('what never ran', () => neverRan(scene));
    describe('limits', () => limits(scene));
    describe('input', () => stdin(scene));
    describe('output', () => output(scene));
    describe('reattaching', () => resume(scene));
    describe('jobs', () => jobs(scene));
    describe('in parallel', () => parallel(scene));
  });
}
