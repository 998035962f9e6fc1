/** The EVENTs that the opener of an exec sends, as they are read on the way. */
import { SignalName, TerminalSize, type ExecCommand } from './exec.ts';

/**
 * Reads an EVENT down to the fields that are known, so that it is small wherever it waits. Undefined for what is not
 * known here: a receiver ignores that.
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
