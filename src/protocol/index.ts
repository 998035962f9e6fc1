/** Everything needed to write another client of the wire protocol. */
export * from './client.ts';
export * from './errors.ts';
export * from './exec.ts';
export * from './frames.ts';
export * from './ids.ts';
export * from './limits.ts';
export * from './sandbox.ts';
