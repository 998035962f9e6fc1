/**
 * The noun `file`. Paths are absolute, or relative to the image's WORKDIR. In a name that is not UTF-8, lone surrogates
 * stand for bytes (`names.ts`).
 */
import * as z from 'zod';
import { isName } from './names.ts';

export const Path = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'a path cannot contain a zero byte')
  .refine(isName, 'a path cannot contain a surrogate that stands for no byte');
export const Mode = z.int().min(0).max(0o7777);
/** name, uid, name:group or uid:gid. */
export const Owner = z.string().min(1).max(256);
/** When a file was last modified, as `FileStat` has it: milliseconds since 1970, exact to the microsecond. */
export const ModifiedAtMs = z.number().min(-8.64e15).max(8.64e15);

/** What a `file` stream asks for (sent with `op: 'file'` and `sandbox`). Bytes travel on channel BYTES. */
export const FileCall = z.discriminatedUnion('call', [
  /** OPENED: `FileStat`; then the bytes; FIN ALL. `offset` and `length` choose a range. */
  z.strictObject({
    call: z.literal('read'),
    path: Path,
    offset: z.int().min(0).optional(),
    length: z.int().min(0).optional(),
  }),
  /**
   * OPENED `{}`; the opener sends bytes and FIN BYTES; answered by EVENT `{ type: 'done', stat }` and FIN ALL. Written
   * under a temporary name and renamed, so that no reader sees half a file. Parent directories are created. With
   * `size`, any other number of bytes is an error and leaves the old file.
   */
  z.strictObject({
    call: z.literal('write'),
    path: Path,
    size: z.int().min(0).optional(),
    mode: Mode.optional(),
    owner: Owner.optional(),
    modifiedAtMs: ModifiedAtMs.optional(),
    append: z.boolean().optional(),
  }),
  /** OPENED `{ entries: FileEntry[], more: boolean }`; `after` continues after that name. At most 1,000 per call. */
  z.strictObject({ call: z.literal('list'), path: Path, after: z.string().optional() }),
  /** OPENED `FileStat`. `follow: false` describes the link itself. */
  z.strictObject({ call: z.literal('stat'), path: Path, follow: z.boolean().optional() }),
  z.strictObject({ call: z.literal('mkdir'), path: Path, mode: Mode.optional(), owner: Owner.optional() }),
  /** To another file system: copied under a temporary name, renamed, and removed from its old place. */
  z.strictObject({ call: z.literal('move'), path: Path, to: Path, overwrite: z.boolean().optional() }),
  z.strictObject({ call: z.literal('remove'), path: Path, recursive: z.boolean().optional() }),
  z.strictObject({ call: z.literal('chmod'), path: Path, mode: Mode.optional(), owner: Owner.optional() }),
  /**
   * EVENTs `{ type: 'change', kind, path }` until the stream is reset: create, write, remove, rename (away from this
   * name), chmod, or overflow. OPENED once everything that exists is watched. `recursive`: with all directories below,
   * as they come and go; changes in a new one may be reported twice. Too many watches or directories:
   * `exec_resource_limit`. FIN ALL, after its `remove` or `rename`, when the watched path is gone from its name.
   */
  z.strictObject({ call: z.literal('watch'), path: Path, recursive: z.boolean().optional() }),
  /** As `read`, but a tar (POSIX pax) of the tree. */
  z.strictObject({ call: z.literal('tar-read'), path: Path }),
  /**
   * As `write`, but a tar unpacked below the path, each file renamed once it is complete. Members cannot escape the
   * path.
   */
  z.strictObject({ call: z.literal('tar-write'), path: Path, owner: Owner.optional() }),
]);
export type FileCall = z.infer<typeof FileCall>;

export const FileKind = z.enum(['file', 'directory', 'symlink', 'fifo', 'socket', 'device']);

export const FileStat = z.object({
  path: z.string(),
  kind: FileKind,
  sizeBytes: z.number(),
  mode: z.int(),
  uid: z.int(),
  gid: z.int(),
  modifiedAtMs: z.number(),
  target: z.string().optional(),
});
export type FileStat = z.infer<typeof FileStat>;

export const FileEntry = FileStat.omit({ path: true }).extend({ name: z.string() });
export type FileEntry = z.infer<typeof FileEntry>;
