import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonical, familiar, imageReference, parseImageReference } from './image-reference.ts';

const DIGEST = `sha256:${'0a'.repeat(32)}`;

describe('image references', () => {
  test.each([
    ['python', 'docker.io/library/python:latest'],
    ['python:3.12-slim', 'docker.io/library/python:3.12-slim'],
    ['org/app', 'docker.io/org/app:latest'],
    ['docker.io/python', 'docker.io/library/python:latest'],
    ['index.docker.io/python:3', 'docker.io/library/python:3'],
    ['library/python', 'docker.io/library/python:latest'],
    ['library/org/app', 'docker.io/library/org/app:latest'],
    ['localhost/app:1', 'localhost/app:1'],
    ['localhost', 'docker.io/library/localhost:latest'],
    ['127.0.0.1:5000/a/b', '127.0.0.1:5000/a/b:latest'],
    ['host:5000/python', 'host:5000/python:latest'],
    ['ghcr.io/org/app:v1', 'ghcr.io/org/app:v1'],
    ['a__b/c-d--e.f_g', 'docker.io/a__b/c-d--e.f_g:latest'],
    [`python@${DIGEST}`, `docker.io/library/python@${DIGEST}`],
    [`ghcr.io/a/b:v1@${DIGEST}`, `ghcr.io/a/b@${DIGEST}`],
    [`a:${'t'.repeat(128)}`, `docker.io/library/a:${'t'.repeat(128)}`],
    ['a'.repeat(247), `docker.io/library/${'a'.repeat(247)}:latest`],
  ])('%s means %s', (text, meant) => {
    expect(canonical(imageReference(text))).toBe(meant);
  });

  test.each([
    '',
    'UPPER',
    'a//b',
    '/a',
    'a/',
    '../x',
    'a:b:c',
    'a:',
    'a@',
    'a@sha256:12',
    `a@${DIGEST.toUpperCase()}`,
    `a@${DIGEST}@${DIGEST}`,
    `a@sha512:${'0a'.repeat(64)}`,
    '-a',
    'a-',
    'a..b',
    'a___b',
    'a b',
    'a\n',
    'host:99999999/a',
    'host:port/a',
    '-host.com/a',
    'host..com/a',
    `a:${'t'.repeat(129)}`,
    'a'.repeat(248),
    `${'a.'.repeat(128)}com/a`,
    // Docker takes these for ids.
    DIGEST,
    '0a'.repeat(32),
  ])('%j is refused', (text) => {
    expect(parseImageReference(text)).toBeUndefined();
    expect(() => imageReference(text)).toThrow(expect.objectContaining({ code: 'image_invalid' }) as Error);
  });

  test('defaults that Docker fills in are left out for display, unless that would name another image', () => {
    const familiarOf = (text: string): string => familiar(imageReference(text));
    expect(familiarOf('docker.io/library/python:3.12')).toBe('python:3.12');
    expect(familiarOf('docker.io/org/app:1')).toBe('org/app:1');
    expect(familiarOf('ghcr.io/org/app:1')).toBe('ghcr.io/org/app:1');
    expect(familiarOf('docker.io/library/org/app:1')).toBe('library/org/app:1');
    expect(familiarOf('docker.io/localhost/app:1')).toBe('docker.io/localhost/app:1');
    expect(familiarOf('docker.io/host.com/app:1')).toBe('docker.io/host.com/app:1');
  });
});

const word = fc.stringMatching(/^[a-z0-9]{1,6}(?:(?:\.|__?|-{1,3})[a-z0-9]{1,6}){0,2}$/);
const host = fc.oneof(
  fc.constantFrom('', 'localhost/', 'docker.io/', 'index.docker.io/', 'docker.io/library/', 'library/'),
  fc.stringMatching(/^[a-zA-Z0-9]{1,5}\.[a-z]{2,3}(?::\d{1,5})?\/$/),
);
const tail = fc.oneof(fc.constantFrom('', `@${DIGEST}`, `:v1@${DIGEST}`), fc.stringMatching(/^:\w[\w.-]{0,20}$/));
const written = fc
  .tuple(host, fc.array(word, { minLength: 1, maxLength: 3 }), tail)
  .map(([before, parts, after]) => `${before}${parts.join('/')}${after}`);

test('the canonical and the familiar form of any reference name the same image as the reference', () => {
  fc.assert(
    fc.property(written, (text) => {
      const reference = parseImageReference(text);
      fc.pre(reference !== undefined);
      const whole = canonical(reference);
      expect(canonical(imageReference(whole))).toBe(whole);
      expect(canonical(imageReference(familiar(reference)))).toBe(whole);
    }),
    { numRuns: 1_000 },
  );
});

test('any text is read or refused, and what is read means the same when it is read again', () => {
  const text = fc.oneof(fc.string({ maxLength: 80 }), fc.stringMatching(/^[aZ0.:/@_-]{0,30}$/));
  fc.assert(
    fc.property(text, (any) => {
      const reference = parseImageReference(any);
      if (reference !== undefined) expect(imageReference(canonical(reference))).toEqual(reference);
    }),
    { numRuns: 2_000 },
  );
});
