/** The engine's messages name the node's paths, sockets and addresses: they are for the operator, not for tenants. */
import { expect, test } from 'vitest';
import { silent, type Logger } from '../../../src/lib/logger.ts';
import { dockerError, pullError } from './docker-errors.ts';

/** As dockerode creates them. */
const answered = (statusCode: number, text: string): Error =>
  Object.assign(new Error(`(HTTP code ${statusCode}) server error - ${text}`), { statusCode, json: { message: text } });

const OF_THE_NODE = /\/var\/|\/run\/|\/dev\/|\d+\.\d+\.\d+\.\d+|sock/;

test.for([
  {
    error: answered(500, 'failed to create task: error mounting "/var/lib/millibox/c/mbx-1/run" to rootfs'),
    code: 'internal',
    says: 'the start of a container failed',
  },
  { error: new Error('connect ENOENT /var/run/docker.sock'), code: 'internal', says: "agent's log" },
  {
    error: answered(500, 'write /var/lib/docker/overlay2/l/x: no space left on device'),
    code: 'capacity_exhausted',
    says: 'try again later',
  },
  {
    error: answered(400, 'Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available'),
    code: 'not_supported',
    says: 'ask for fewer',
  },
  { error: answered(400, 'Minimum memory limit allowed is 6MB'), code: 'not_supported', says: 'ask for more' },
])('a tenant learns what to do and nothing of the node: $says', ({ error, code, says }) => {
  const told = dockerError(error, 'the start of a container', silent);
  expect(told).toMatchObject({ code, cause: error });
  expect(told.message).toContain(says);
  expect(told.message).not.toMatch(OF_THE_NODE);
});

test.for([
  {
    error: new Error('Get "https://10.1.2.3:5000/v2/": dial tcp 10.1.2.3:5000: connect: connection refused'),
    code: 'image_unreachable',
    says: 'try again later',
  },
  { error: answered(404, 'manifest for a/b:c not found: 10.1.2.3'), code: 'image_not_found', says: 'name and tag' },
  { error: answered(500, 'unauthorized: see /run/secrets/auth'), code: 'image_unauthorized', says: 'credentials' },
  { error: answered(400, 'invalid reference format: /var/x'), code: 'image_invalid', says: 'not an image name' },
  { error: new Error('no matching manifest for linux/arm64'), code: 'image_invalid', says: 'processor' },
  {
    error: new Error('write /var/lib/docker/tmp/GetImageBlob1: no space left on device'),
    code: 'capacity_exhausted',
    says: 'try again later',
  },
])('of a pull that failed too: $says', ({ error, code, says }) => {
  const told = pullError(error, 'a/b:c', silent);
  expect(told).toMatchObject({ code, cause: error });
  expect(told.message).toMatch(/^a\/b:c: /);
  expect(told.message).toContain(says);
  expect(told.message).not.toMatch(OF_THE_NODE);
});

test("the operator finds the engine's message in the log", () => {
  const logged: unknown[] = [];
  const log = { ...silent, warn: (what: unknown) => logged.push(what), debug: () => undefined } as unknown as Logger;
  const error = answered(500, 'something about /var/lib/docker');
  dockerError(error, 'the start of a container', log);
  pullError(error, 'image', log);
  expect(logged).toMatchObject([{ err: error }, { err: error, image: 'image' }]);
  // Many requests expect to find nothing.
  dockerError(answered(404, 'no such container'), 'the removal of a container', log);
  expect(logged).toHaveLength(2);
});
