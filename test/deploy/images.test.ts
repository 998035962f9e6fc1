/**
 * The images, built, and run as the chart's pods and as services of the compose file. Takes minutes, so it must be
 * requested: `MILLIBOX_TEST_DOCKERFILES=1`.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { buildsImages } from '../helpers/config.ts';
import { findCompose } from './compose-stack.ts';
import { Images } from './engine.ts';
import { describeChart } from './live-chart.ts';
import { describeCompose } from './live-compose.ts';
import { lacking } from './tools.ts';

const BUILD_MS = 2_400_000;
const CLEAN_MS = 120_000;
const asked = buildsImages();
const helm = lacking('helm', 'skopeo').length === 0;
const compose = !asked || (await findCompose()) !== undefined;

describe.skipIf(!asked)('images (skipped unless MILLIBOX_TEST_DOCKERFILES=1)', () => {
  let images: Images;
  beforeAll(async () => {
    images = await Images.build();
  }, BUILD_MS);
  afterAll(() => images?.[Symbol.asyncDispose](), CLEAN_MS);

  describe.skipIf(!helm)(helm ? 'and the chart' : 'and the chart (skipped: there is no helm or skopeo)', () => {
    describeChart(() => images);
  });
  describe.skipIf(!compose)(compose ? 'and compose' : 'and compose (skipped: there is no docker compose)', () => {
    describeCompose(() => images);
  });
});
