/** Options of file calls. */
import type { CallOptions } from './http.ts';
import { CALL_OPTIONS, type OptionNames } from './known-options.ts';

export interface RangeOptions extends CallOptions {
  /** First byte. */
  offset?: number | undefined;
  /** At most this many bytes. */
  length?: number | undefined;
}

export interface WriteOptions extends CallOptions {
  mode?: number | undefined;
  /** name, uid, name:group or uid:gid. */
  owner?: string | undefined;
  /** Append to the existing file instead of replacing it. */
  append?: boolean | undefined;
  /** Length of the stream in bytes: fewer or more is an error, and the old file stays. */
  size?: number | undefined;
}

export interface OwnerOptions extends CallOptions {
  mode?: number | undefined;
  owner?: string | undefined;
}

export interface WatchOptions {
  recursive?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export const RANGE_OPTIONS: OptionNames<RangeOptions> = { ...CALL_OPTIONS, offset: true, length: true };
export const OWNER_OPTIONS: OptionNames<OwnerOptions> = { ...CALL_OPTIONS, mode: true, owner: true };
export const WRITE_OPTIONS: OptionNames<WriteOptions> = { ...OWNER_OPTIONS, append: true, size: true };
export const WATCH_OPTIONS: OptionNames<WatchOptions> = { recursive: true, signal: true };
