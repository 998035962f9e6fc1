import { ServiceError } from '../../protocol/errors.ts';
import type { FileStat } from '../../protocol/files.ts';

/**
 * A `Range` header as offset and length. Null: an unsupported range (several ranges, another unit), for which the whole
 * file is a valid answer.
 * @throws ServiceError `range_not_satisfiable`
 */
export function parseRange(header: string, sizeBytes: number): { offset: number; length: number } | null {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  const [, from = '', to = ''] = match;
  if (from !== '' && to !== '' && Number(to) < Number(from)) return null;
  const start = from === '' ? Math.max(0, sizeBytes - Number(to)) : Number(from);
  const end = from === '' || to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  if (start > end) throw new ServiceError('range_not_satisfiable', undefined, { details: { sizeBytes } });
  return { offset: start, length: end - start + 1 };
}

/** The ETag of a file. A client that resumes a download sends it, to get the rest of the same content. */
export function validatorOf({ sizeBytes, modifiedAtMs }: Pick<FileStat, 'sizeBytes' | 'modifiedAtMs'>): string {
  return `"${sizeBytes.toString(16)}-${Math.round(modifiedAtMs * 1000).toString(16)}"`;
}
