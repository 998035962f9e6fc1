/** The fake sandbox's few programs, and as much of a shell as `sh -c 'one; two'` needs. */

/** A program's view of its process. */
export interface FakeProcess {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Aborted by a signal; the program ends at its next wait. */
  readonly signal: AbortSignal;
  /** Resolves when the reader has room again, like a write to a full pipe. */
  stdout(bytes: Uint8Array): Promise<void>;
  stderr(bytes: Uint8Array): Promise<void>;
  /** The next bytes of stdin; undefined at its end. */
  read(): Promise<Uint8Array | undefined>;
}

/** Returns the exit code. A rejection means that a signal arrived. */
type Program = (process: FakeProcess) => Promise<number>;

const encode = (text: string): Uint8Array => Buffer.from(text);
const YES_BLOCK = encode('y\n'.repeat(8 * 1024));

const PROGRAMS: Record<string, Program> = {
  true: () => Promise.resolve(0),
  false: () => Promise.resolve(1),
  echo: async (p) => {
    await p.stdout(encode(`${p.argv.slice(1).join(' ')}\n`));
    return 0;
  },
  warn: async (p) => {
    await p.stderr(encode(`${p.argv.slice(1).join(' ')}\n`));
    return 0;
  },
  printenv: async (p) => {
    const value = p.env[p.argv[1] ?? ''];
    if (value === undefined) return 1;
    await p.stdout(encode(`${value}\n`));
    return 0;
  },
  pwd: async (p) => {
    await p.stdout(encode(`${p.cwd}\n`));
    return 0;
  },
  cat: async (p) => {
    for (let bytes = await p.read(); bytes !== undefined; bytes = await p.read()) await p.stdout(bytes);
    return 0;
  },
  sleep: async (p) => {
    await pause(Number(p.argv[1] ?? '0') * 1_000, p.signal);
    return 0;
  },
  exit: (p) => Promise.resolve(Number(p.argv[1] ?? '0') & 255),
  /** yes [BYTES]: without a number it runs until it is killed. */
  yes: async (p) => {
    let left = p.argv[1] === undefined ? Number.POSITIVE_INFINITY : Number(p.argv[1]);
    while (left > 0) {
      p.signal.throwIfAborted();
      const n = Math.min(left, YES_BLOCK.length);
      await p.stdout(YES_BLOCK.subarray(0, n));
      left -= n;
    }
    return 0;
  },
};

/** The program of this name; undefined if not found. Only the last part of a path counts. */
export function findProgram(name: string): Program | undefined {
  const base = name.slice(name.lastIndexOf('/') + 1);
  if (base === 'sh' || base === 'bash') return (p) => shell(p.argv[2] ?? '', p);
  return Object.hasOwn(PROGRAMS, base) ? PROGRAMS[base] : undefined;
}

/**
 * Runs commands separated by `;`, `&&` or newlines, words separated by blanks, with quotes and `$NAME`. `exit` ends it.
 */
export async function shell(script: string, process: FakeProcess): Promise<number> {
  let code = 0;
  for (const command of script.split(/;|&&|\n/)) {
    const argv = words(command, process.env);
    const [name] = argv;
    if (name === undefined) continue;
    const program = findProgram(name);
    if (program === undefined) {
      await process.stderr(encode(`sh: ${name}: not found\n`));
      code = 127;
      continue;
    }
    // All share the shell's streams.
    code = await program(withArgv(process, argv));
    if (name === 'exit') return code;
  }
  return code;
}

function withArgv(process: FakeProcess, argv: string[]): FakeProcess {
  return Object.create(process, { argv: { value: argv } }) as FakeProcess;
}

function words(command: string, env: Readonly<Record<string, string>>): string[] {
  const expand = (text: string): string => text.replace(/\$(\w+)/g, (_all, name: string) => env[name] ?? '');
  const found: string[] = [];
  for (const [, single, double, plain] of command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)) {
    if (single !== undefined) found.push(single);
    else found.push(expand(double ?? plain ?? ''));
  }
  return found;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(new Error('killed'));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
