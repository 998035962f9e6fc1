/** Prints frames.json: `node test/golden/generate.ts > test/golden/frames.json`. The layout is frozen, so it only grows. */
import { Channel, FLAG_OPTIONAL, FrameType, encodeFrame } from '../../src/protocol/frames.ts';

const json = (value: object): Uint8Array => Buffer.from(JSON.stringify(value));
const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');
const none = new Uint8Array(0);

const frames: [name: string, type: number, flags: number, channel: number, stream: number, payload: Uint8Array][] = [
  ['hello', FrameType.HELLO, 0, 0, 0, json({ generation: 1 })],
  ['hello of boxinit', FrameType.HELLO, 0, 0, 0, json({ generation: 1, token: 't', version: '0.1.0', pid: 1, blank: false })],
  ['open exec', FrameType.OPEN, 0, 0, 1, json({ op: 'exec', id: 'exe_1', argv: ['echo', 'grüße, 世界'], stdin: false })],
  ['open by the listener', FrameType.OPEN, 0, 0, 2, json({ op: 'events' })],
  ['opened', FrameType.OPENED, 0, 0, 1, json({ pid: 42 })],
  ['opened with nothing to say', FrameType.OPENED, 0, 0, 1, json({})],
  ['refused', FrameType.REFUSED, 0, 0, 3, json({ code: 'exec_bad_cwd', message: 'no', retryable: false })],
  ['stdin', FrameType.DATA, 0, Channel.STDIN, 1, Buffer.from('input\n')],
  ['stdout, not text', FrameType.DATA, 0, Channel.STDOUT, 1, hex('00ff80c328fe0d0a')],
  ['stderr', FrameType.DATA, 0, Channel.STDERR, 1, Buffer.from('oops\n')],
  ['terminal', FrameType.DATA, 0, Channel.PTY, 5, hex('1b5b324a')],
  ['script', FrameType.DATA, 0, Channel.SCRIPT, 7, Buffer.from('exit 3')],
  ['file bytes', FrameType.DATA, 0, Channel.BYTES, 9, hex('7f454c46')],
  ['empty data', FrameType.DATA, 0, Channel.STDOUT, 1, none],
  ['data of 300 bytes', FrameType.DATA, 0, Channel.STDOUT, 257, Buffer.alloc(300, 0xab)],
  ['credit of a stream', FrameType.CREDIT, 0, 0, 1, hex('00020000')],
  ['credit of the link', FrameType.CREDIT, 0, 0, 0, hex('00080000')],
  ['signal', FrameType.EVENT, 0, 0, 1, json({ type: 'signal', signal: 'TERM', all: true })],
  ['exit', FrameType.EVENT, 0, 0, 1, json({ type: 'exit', exitCode: 137, signal: 'KILL', timedOut: true, oomKilled: false, stdoutBytes: 5, stderrBytes: 0, durationMs: 1.5 })],
  ['fin of stdin', FrameType.FIN, 0, Channel.STDIN, 1, none],
  ['fin of everything', FrameType.FIN, 0, Channel.ALL, 1, none],
  ['reset', FrameType.RESET, 0, 0, 1, json({ code: 'cancelled', message: 'The caller gave up.' })],
  ['reset of the link', FrameType.RESET, 0, 0, 0, json({ code: 'protocol_error', message: 'frame of type 0' })],
  ['ping', FrameType.PING, 0, 0, 0, hex('0000000000000007')],
  ['pong', FrameType.PONG, 0, 0, 0, hex('0000000000000007')],
  ['goaway', FrameType.GOAWAY, 0, 0, 0, none],
  ['highest stream id', FrameType.DATA, 0, Channel.STDOUT, 0xffff_ffff, hex('01')],
  ['unknown but optional', 200, FLAG_OPTIONAL, 0x1234, 0x89ab_cdef, hex('deadbeef')],
];

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const rows = frames.map(([name, type, flags, channel, stream, payload]) => ({
  name,
  type,
  flags,
  channel,
  stream,
  payloadHex: toHex(payload),
  hex: toHex(encodeFrame({ type, flags, channel, stream, payload })),
}));
process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
