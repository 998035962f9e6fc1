import { expect, test } from 'vitest';
import { ImageName, ImageRef } from './sandbox.ts';

test.each([
  'python',
  'python:3.12-slim',
  'library/python',
  'millibox/debian:bookworm',
  'ghcr.io/org/name',
  'localhost/x',
  '127.0.0.1:5000/a/b_c/d__e:V1.2-x',
  'registry.example.com:443/team/image@sha256:' + 'a'.repeat(64),
  'name:tag@sha256:' + '0'.repeat(64),
  'millibox-bench/i123:0',
])('%s is an image reference', (text) => {
  expect(ImageRef.safeParse(text).success).toBe(true);
  expect(ImageName.safeParse(text).success).toBe(true);
});

test.each([
  '',
  'Nope:::bad',
  'Nope',
  'UPPER/case',
  'a:b:c',
  'a/:b',
  'a//b',
  '/a',
  'a/',
  'a@b',
  'a@sha256:short',
  'a:',
  'a b',
  '-a',
  'a..b',
  'a___b',
  'host:port/a',
  'x'.repeat(600),
])('%j is not an image reference', (text) => {
  expect(ImageRef.safeParse(text).success).toBe(false);
});

test.each(['sha256:' + 'a1'.repeat(32), 'a1'.repeat(32)])(
  'the id %s names an image on its node, and nowhere else',
  (id) => {
    expect(ImageRef.safeParse(id).success).toBe(true);
    expect(ImageName.safeParse(id).success).toBe(false);
  },
);
