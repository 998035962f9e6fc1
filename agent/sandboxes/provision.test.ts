import { expect, test } from 'vitest';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Harness, newSpec, until } from '../testing/harness.ts';

const NO_POOL = { MILLIBOX_POOL_MIN: '0' };

test.for([true, false])(
  'an image that is removed while a create waits for its container is pulled again (blanks: %s)',
  async (imageAgnostic) => {
    await using harness = await Harness.fake({ imageAgnostic, launchMs: 100 }, NO_POOL);
    const { images } = harness.runtime;
    await images.ensure('other', {});
    const pulls = images.pulls;
    const { id } = await harness.client.create(newSpec({ image: 'other' }));
    await until('a container is being started', () => harness.runtime.launches > 0);
    await images.remove('other');
    await harness.reaches(id, 'RUNNING');
    expect(images.pulls - pulls).toBe(1);
    expect(harness.agent.sandboxes.get(id).image).toEqual(images.get('other'));
  },
);

test('an image that is removed again and again is pulled again once', async () => {
  await using harness = await Harness.fake({}, NO_POOL);
  const removed = (): Error => new ServiceError('image_not_found', 'the image was removed');
  harness.runtime.failures.push(removed(), removed(), removed());
  const { id } = await harness.client.create(newSpec({ image: 'other' }));
  await harness.reaches(id, 'ERROR');
  expect(harness.record(id)).toMatchObject({ reason: 'image_pull_failed', message: 'the image was removed' });
  expect(harness.runtime.failures).toHaveLength(1);
});
