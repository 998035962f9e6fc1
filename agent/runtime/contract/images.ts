/** Images: found, shared, refused. */
import { expect, test } from 'vitest';
import { codeOf } from '../../testing/code-of.ts';
import { Bench, run, type ContractSubject } from './subject.ts';

export function imageChapter(subject: ContractSubject): void {
  test('an image on the node is found without asking any registry', async () => {
    await using bench = await Bench.open(subject);
    const image = bench.runtime.images.get(subject.image);
    expect(image).toMatchObject({ ref: subject.image, id: bench.image.id });
    expect(image?.workdir.startsWith('/')).toBe(true);
    expect((await bench.runtime.images.list()).map(({ ref }) => ref)).toContain(subject.image);
  });

  test('concurrent requests for one image return the same', async () => {
    await using bench = await Bench.open(subject);
    const all = await Promise.all([1, 2, 3].map(() => bench.runtime.images.ensure(subject.image, {})));
    expect(new Set(all.map(({ id }) => id)).size).toBe(1);
  });

  for (const { ref, code } of subject.failing) {
    test(`the pull of ${ref} fails as ${code}`, async () => {
      await using bench = await Bench.open(subject);
      expect(await codeOf(bench.runtime.images.ensure(ref, {}))).toBe(code);
      expect(await codeOf(bench.runtime.images.refresh(ref, {}))).toBe(code);
      expect(bench.runtime.images.get(ref)).toBeUndefined();
    });
  }

  test('nothing starts on an image that was removed, and the error says so', async () => {
    await using bench = await Bench.open(subject);
    const removed = { ...bench.image, id: `sha256:${'0'.repeat(64)}` };
    expect(await codeOf(bench.claimed({ image: removed }))).toBe('image_not_found');
  });

  test('an image that is not on the node cannot be removed', async () => {
    await using bench = await Bench.open(subject);
    expect(await codeOf(bench.runtime.images.remove('no-such-image:nowhere'))).toBe('image_not_found');
  });

  test.skipIf(!subject.linux)("an image's missing working directory is created", async () => {
    await using bench = await Bench.open(subject);
    const { link } = await bench.claimed({ image: { ...bench.image, workdir: '/made/for/it' } });
    expect((await run(link, ['pwd'], { cwd: '/made/for/it' })).stdout).toBe('/made/for/it\n');
    // Existing ones are left alone, and so is a file.
    for (const workdir of ['/tmp', '/etc/passwd']) await bench.claimed({ image: { ...bench.image, workdir } });
  });
}
