import { nameOfBytes } from '../../protocol/names.ts';

type Query = Record<string, string | string[]>;

/**
 * Parses the query of a URL, whose values are bytes: file names need not be UTF-8. Bytes sent without percent-encoding
 * count as well. A percent sign that does not begin an encoded byte stands for itself.
 */
export function parseQuery(text: string): Query {
  // `__proto__` is a key like any other.
  const query = Object.create(null) as Query;
  for (const part of text.split('&')) {
    if (part === '') continue;
    const [name, value] = part.includes('=') ? split(part) : [decode(part), ''];
    const before = query[name];
    if (before === undefined) query[name] = value;
    else if (typeof before === 'string') query[name] = [before, value];
    else before.push(value);
  }
  return query;
}

function split(part: string): [name: string, value: string] {
  const at = part.indexOf('=');
  return [decode(part.slice(0, at)), decode(part.slice(at + 1))];
}

/** Node gives the bytes of a request line as characters up to U+00FF. */
function decode(text: string): string {
  if (!/[%+\x80-\xff]/.test(text)) return text;
  const bytes = text.replaceAll('+', ' ').replace(/%([0-9a-f]{2})/gi, (_, hex: string) => byte(hex));
  return nameOfBytes(Buffer.from(bytes, 'latin1'));
}

const byte = (hex: string): string => String.fromCharCode(parseInt(hex, 16));
