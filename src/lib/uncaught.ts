/** Uncaught errors: they leave the process in an unknown state, so it logs them and ends. */
import type { Logger } from './logger.ts';

/** Until disposed, an uncaught exception or an unhandled rejection is logged and ends the process with status 1. */
export function exitOnUncaught(log: Logger): Disposable {
  const end = (error: unknown, origin: string): void => {
    try {
      log.error({ event: 'uncaught', err: error, origin }, 'uncaught error: the process exits');
    } finally {
      process.exit(1);
    }
  };
  const onException = (error: unknown): void => end(error, 'exception');
  const onRejection = (reason: unknown): void => end(reason, 'rejection');
  process.on('uncaughtException', onException);
  process.on('unhandledRejection', onRejection);
  return {
    [Symbol.dispose]: () => {
      process.off('uncaughtException', onException);
      process.off('unhandledRejection', onRejection);
    },
  };
}
