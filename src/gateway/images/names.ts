/**
 * Normalises an image reference for comparison, as nodes do in their reports: `python:3.12` and
 * `docker.io/library/python:3.12` are equal, and a tag beside a digest says nothing. Not for pulling.
 */
export function imageKey(ref: string): string {
  let name = ref.startsWith('docker.io/') ? ref.slice('docker.io/'.length) : ref;
  if (name.startsWith('library/')) name = name.slice('library/'.length);
  const [named = '', digest] = name.split('@');
  // A colon before the last slash belongs to the registry's port.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const path = colon === -1 ? named : named.slice(0, colon);
  if (digest !== undefined) return `${path}@${digest}`;
  return `${path}:${colon === -1 ? 'latest' : named.slice(colon + 1)}`;
}
