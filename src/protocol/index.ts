/** What the wire is made of, for those who write a client of their own. */
export * from './client.ts';
export * from './errors.ts';
export * from './exec.ts';
export * from './frames.ts';
export * from './ids.ts';
export * from './limits.ts';
export * from './sandbox.ts';
