/** What every runtime must do: run in the unit tests on the fake one, and in the integration tests on real ones. */
import { describe } from 'vitest';
import { containerChapter } from './containers.ts';
import { imageChapter } from './images.ts';
import { isolationChapter } from './isolation.ts';
import { placeChapter } from './places.ts';
import type { ContractSubject } from './subject.ts';

export function runtimeContract(subject: ContractSubject): void {
  describe(`runtime contract: ${subject.name}`, () => {
    describe('containers', () => containerChapter(subject));
    describe('images', () => imageChapter(subject));
    describe('places', () => placeChapter(subject));
    if (subject.linux) describe('isolation', () => isolationChapter(subject));
  });
}
