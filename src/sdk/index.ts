/** millibox: run untrusted code in sandboxes that are milliseconds away. */
import './require-node.ts';

export { Millibox, type MilliboxOptions } from './client.ts';
export { Sandbox, NewSandbox, type SandboxInfo } from './sandbox.ts';
export { Sandboxes, type CreateOptions, type ListOptions } from './sandboxes.ts';
export { ExecHandle } from './exec/handle.ts';
export type { AttachOptions, Command, Encoding, ExecOptions, OutputOf, StdinSource } from './exec/options.ts';
export type { ChannelName, ExecOutputEvent, ExecResult } from './exec/result.ts';
export { Files, type OwnerOptions, type RangeOptions, type WatchOptions, type WriteOptions } from './files.ts';
export {
  Job,
  Jobs,
  type ExecState,
  type FollowOptions,
  type JobOptions,
  type LogEvent,
  type ReadOptions,
} from './jobs.ts';
export { Ports, type Preview } from './ports.ts';
export { Pty, type AttachPtyOptions, type OutputLost, type PtyOptions } from './pty.ts';
export type { FileChange } from './watch.ts';
export type { ByteSource } from './source.ts';
export type { FileEntry, FileStat } from '../protocol/files.ts';
export { bytesOfName, nameOfBytes } from '../protocol/names.ts';
export type { CallOptions } from './http.ts';
export { CommandFailedError, MilliboxError, type ErrorCode } from './errors.ts';
export type { SandboxStatus, EndReason } from '../protocol/sandbox.ts';
export type { SignalName } from '../protocol/exec.ts';
