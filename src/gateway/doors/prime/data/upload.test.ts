import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { firstFile } from './upload.ts';

const PART = '--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n';

const requestOf = (...chunks: string[]): IncomingMessage =>
  Object.assign(Readable.from(chunks.map((text) => Buffer.from(text))), {
    headers: { 'content-type': 'multipart/form-data; boundary=B' },
  }) as unknown as IncomingMessage;

test('the first file of a body is the content of its part, however the body is cut into chunks', async () => {
  const whole = `${PART}hel\r\nlo\r\n--B\r\nContent-Disposition: form-data; name="other"\r\n\r\nsecond\r\n--B--\r\n`;
  for (const chunks of [[whole], whole.split('')]) {
    expect((await buffer(await firstFile(requestOf(...chunks)))).toString()).toBe('hel\r\nlo');
  }
});

test.each([
  ['in its content', `${PART}hel`],
  ['before the last boundary', `${PART}hello\r\n--B`],
  ['behind the first part', `${PART}hello\r\n--B\r\nContent-Disposition: form-data; name="other"\r\n\r\nsec`],
  ['in its headers', PART.slice(0, 30)],
  ['at once', ''],
])('a body that ends %s has no complete file', async (_where, body) => {
  const read = async (): Promise<Buffer> => buffer(await firstFile(requestOf(body)));
  await expect(read()).rejects.toMatchObject({ code: 'invalid_request' });
});
