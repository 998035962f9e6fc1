/**
 * Normalises an image reference for comparison: `python:3.12` and `docker.io/library/python:3.12` are equal. Not for
 * pulling.
 */
export function imageKey(ref: string): string {
  let name = ref.startsWith('docker.io/') ? ref.slice('docker.io/'.length) : ref;
  if (name.startsWith('library/')) name = name.slice('library/'.length);
  const last = name.slice(name.lastIndexOf('/') + 1);
  return last.includes(':') || last.includes('@') ? name : `${name}:latest`;
}
