/** Reading a window of a file. */
import type { FileService } from '../../../files/service.ts';

export interface FileWindow {
  bytes: Buffer;
  /** Size of the file. */
  totalBytes: number;
  /** Offset of the first byte. */
  offset: number;
}

/**
 * @param window A negative offset counts from the end.
 * @throws ServiceError `file_…`, `sandbox_…`
 */
export async function readWindow(
  files: FileService,
  tenant: string,
  sandbox: string,
  window: { path: string; offset: number; length: number },
  signal?: AbortSignal,
): Promise<FileWindow> {
  const { path, length } = window;
  // Only a window from the end needs to know the size first.
  const size = window.offset < 0 ? (await files.stat(tenant, sandbox, { path })).sizeBytes : null;
  const offset = size === null ? window.offset : Math.max(0, size + window.offset);
  const reading = await files.read(tenant, sandbox, { path, offset, length }, signal);
  const chunks: Buffer[] = [];
  let got = 0;
  for await (const chunk of reading.bytes) {
    chunks.push(chunk);
    got += chunk.length;
  }
  const bytes = Buffer.concat(chunks, got);
  return { bytes, totalBytes: Math.max(reading.stat?.sizeBytes ?? 0, offset + got), offset };
}
