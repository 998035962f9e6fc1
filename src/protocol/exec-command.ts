/** The EVENTs that the opener of an exec sends, as gateway and agent read them. */
import { SignalName, TerminalSize, type ExecCommand } from './exec.ts';

/**
 * Reduces an EVENT to its known fields, so that it is small wherever it is queued. Undefined for an unknown one:
 * receivers ignore it.
 */
export function readExecCommand(message: Readonly<Record<string, unknown>>): ExecCommand | undefined {
  const { type, signal, all, cols, rows } = message;
  switch (type) {
    case 'signal': {
      const name = SignalName.safeParse(signal);
      if (!name.success) return undefined;
      return all === true ? { type, signal: name.data, all } : { type, signal: name.data };
    }
    case 'kill':
      return { type };
    case 'resize': {
      const size = TerminalSize.safeParse({ cols, rows });
      return size.success ? { type, ...size.data } : undefined;
    }
    default:
      return undefined;
  }
}
