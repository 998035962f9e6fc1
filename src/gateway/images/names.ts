/**
 * Image references for comparison, as nodes spell them in many ways in their reports: `python:3.12` and
 * `docker.io/library/python:3.12` are equal, and a tag beside a digest is ignored.
 */
import { canonical, parseImageReference } from '../../protocol/image-reference.ts';

/**
 * Two references to one image have one key. Anything that is no reference, such as the id of an unnamed image, is its
 * own key.
 */
export function imageKey(ref: string): string {
  const reference = parseImageReference(ref);
  return reference === undefined ? ref : canonical(reference);
}
