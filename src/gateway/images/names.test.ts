import { describe, expect, test } from 'vitest';
import { imageKey } from './names.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

describe('two references to the same image have one key', () => {
  test.each([
    ['python', 'docker.io/library/python:latest'],
    ['python:3.12', 'library/python:3.12'],
    [`python@${DIGEST}`, `docker.io/library/python:3.12@${DIGEST}`],
    ['host:5000/a/b', 'host:5000/a/b:latest'],
    [`host:5000/a/b:1@${DIGEST}`, `host:5000/a/b@${DIGEST}`],
  ])('%s and %s', (one, other) => {
    expect(imageKey(one)).toBe(imageKey(other));
  });
});

test('references to different images, and image ids, have different keys', () => {
  const names = ['python', 'python:3.12', 'org/python', 'host:5000/python', `python@${DIGEST}`, 'host/python:5000'];
  const alike = ['library/org/python', 'localhost/python', 'docker.io/localhost/python'];
  const different = [...names, ...alike, DIGEST];
  expect(new Set(different.map(imageKey)).size).toBe(different.length);
});
