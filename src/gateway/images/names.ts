/**
 * Image references for comparison, as nodes spell them in many ways in their reports: `python:3.12` and
 * `docker.io/library/python:3.12` are equal, and a tag beside a digest says nothing.
 */
import { canonical, parseImageReference } from '../../protocol/image-reference.ts';

/** Two references to one image have one key. What is none, such as the id of an image without a name, is its own. */
export function imageKey(ref: string): string {
  const reference = parseImageReference(ref);
  return reference === undefined ? ref : canonical(reference);
}
