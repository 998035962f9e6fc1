import { ExecResult, ExecState } from '../../../protocol/exec.ts';
import { FileEntry, FileStat } from '../../../protocol/files.ts';
import { Sandbox } from '../../../protocol/sandbox.ts';
import { openApiDocument } from '../../http/openapi.ts';
import type { Route } from '../../http/route.ts';

const API_VERSION = '1.0.0';

export function nativeOpenApi(routes: readonly Route[]): Record<string, unknown> {
  return openApiDocument(routes, { Sandbox, ExecResult, ExecState, FileStat, FileEntry }, API_VERSION);
}
