import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../src/protocol/errors.ts';
import { canonical, familiar, parseReference } from './reference.ts';

const DIGEST = `sha256:${'0a'.repeat(32)}`;

describe('image references', () => {
  test.each([
    ['python', 'docker.io/library/python:latest'],
    ['python:3.12-slim', 'docker.io/library/python:3.12-slim'],
    ['org/app', 'docker.io/org/app:latest'],
    ['docker.io/python', 'docker.io/library/python:latest'],
    ['localhost/app:1', 'localhost/app:1'],
    ['127.0.0.1:5000/a/b', '127.0.0.1:5000/a/b:latest'],
    ['ghcr.io/org/app:v1', 'ghcr.io/org/app:v1'],
    [`python@${DIGEST}`, `docker.io/library/python@${DIGEST}`],
    [`ghcr.io/a/b:v1@${DIGEST}`, `ghcr.io/a/b@${DIGEST}`],
  ])('%s means %s', (text, meant) => {
    expect(canonical(parseReference(text))).toBe(meant);
  });

  test.each([
    '',
    'UPPER',
    'a//b',
    '../x',
    'a:b:c',
    'a@sha256:12',
    `a@${DIGEST}@${DIGEST}`,
    '-a',
    'a b',
    'host:99999999/a',
    // Docker takes these for ids.
    DIGEST,
    '0a'.repeat(32),
  ])('"%s" is refused', (text) => {
    const code = (): string => {
      try {
        return canonical(parseReference(text));
      } catch (error) {
        return error instanceof ServiceError ? error.code : 'thrown';
      }
    };
    expect(code()).toBe('image_invalid');
  });

  test('what Docker fills in is left out again for people', () => {
    expect(familiar('docker.io/library/python:3.12')).toBe('python:3.12');
    expect(familiar('docker.io/org/app:1')).toBe('org/app:1');
    expect(familiar('ghcr.io/org/app:1')).toBe('ghcr.io/org/app:1');
  });
});
