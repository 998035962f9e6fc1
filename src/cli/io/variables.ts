/**
 * Environment variables for a sandbox, given by repeatable options. `NAME` alone takes its value from our own
 * environment, and a value can be read from a file: then it is in no process list and no shell history.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { variable } from '../config.ts';
import { pair } from './parse.ts';

type Variables = Record<string, string>;

/** No variable can be longer; also bounds what is read from an endless device. */
const MAX_FILE_BYTES = 128 * 1024;

/** `NAME`, or `NAME=VALUE`. */
export function envPair(text: string, before: Variables = {}): Variables {
  if (text.includes('=')) return pair(text, before);
  const value = variable(text);
  if (value === undefined) {
    throw new InvalidArgumentError(`${text} is not set in the environment: set it, or give NAME=VALUE`);
  }
  return { ...before, [text]: value };
}

/** `NAME=PATH`: the text of the file, without its final line end. */
export function filePair(text: string, before: Variables = {}): Variables {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError('NAME=PATH');
  return { ...before, [text.slice(0, at)]: textOf(text.slice(at + 1)) };
}

function textOf(path: string): string {
  const bytes = contents(path);
  if (bytes.length > MAX_FILE_BYTES) throw new InvalidArgumentError(`${path}: more than ${MAX_FILE_BYTES} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, '');
  } catch {
    throw new InvalidArgumentError(`${path}: not UTF-8, as the value of a variable must be`);
  }
}

function contents(path: string): Buffer {
  try {
    const file = openSync(path, 'r');
    try {
      const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
      let used = 0;
      for (let got = -1; got !== 0 && used < buffer.length; used += got) {
        got = readSync(file, buffer, used, buffer.length - used, null);
      }
      return buffer.subarray(0, used);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new InvalidArgumentError(`${path}: ${(error as Error).message}`);
  }
}
