export { giveBuffer, takeBuffer } from './buffers.ts';
export { DeferredCredit } from './deferred-credit.ts';
export { dialNode, type DialNodeOptions, type DialledNode } from './dial-node.ts';
export { EarlyInput, type EarlyReceiver } from './early-input.ts';
export { createMux } from './mux.ts';
export { memoryPair, type MemoryOptions, type MemoryPair } from './memory-transport.ts';
export { socketTransport } from './socket-transport.ts';
export { UpgradeRefused, acceptWs, dialWs, type DialOptions } from './websocket/handshake.ts';
export type { Json, Mux, MuxOptions, MuxStream, StreamHandler, Transport } from './types.ts';
