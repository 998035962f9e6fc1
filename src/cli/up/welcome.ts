/** What `up` prints once it serves: its address, and lines to paste into another terminal. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { packageRoot } from '../../lib/own-package.ts';

export interface Welcome {
  url: string;
  apiKey: string;
  /** Directory of keys, records and logs. */
  home: string;
}

/**
 * Each of the three blocks of lines is self-contained: it works in any directory, with any home, in any POSIX shell.
 * @param path where programs are looked up, as in PATH
 */
export function welcome({ url, apiKey, home }: Welcome, path: string): string {
  const service = `export MILLIBOX_URL=${quoted(url)} MILLIBOX_API_KEY=${quoted(apiKey)}`;
  const node = quoted(process.execPath);
  const cli = quoted(join(packageRoot(), 'dist/src/cli/main.js'));
  return `
millibox is up; Ctrl-C stops it.

  URL       ${url}
  API key   ${apiKey}        (kept in ${join(home, 'api-key')})
  Logs      ${join(home, 'log')}

From another terminal, by any of these:

curl${onPath('curl', path) ? '' : ' (not installed here: apt-get install curl)'}:
  ${service}
  SB=$(curl -s -X POST $MILLIBOX_URL/v1/sandboxes -H "Authorization: Bearer $MILLIBOX_API_KEY" \\
    -H 'content-type: application/json' -d '{}' | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  curl -s -X POST $MILLIBOX_URL/v1/sandboxes/$SB/exec -H "Authorization: Bearer $MILLIBOX_API_KEY" \\
    -H 'content-type: application/json' -d '{"command":"python3 -c \\"print(6 * 7)\\""}' -w '\\n'
  curl -s -X DELETE $MILLIBOX_URL/v1/sandboxes/$SB -H "Authorization: Bearer $MILLIBOX_API_KEY" -o /dev/null

CLI:
  ${service}
  millibox() { ${node} ${cli} "$@"; }
  SB=$(millibox create) && millibox exec $SB -- python3 -c 'print(6 * 7)' && millibox rm $SB

SDK:
  ${service}
  (cd ${quoted(packageRoot())} && ${node} --input-type=module) <<'JS'
import { Millibox } from 'millibox';
const client = new Millibox();
const sandbox = client.sandboxes.create();
console.log((await sandbox.exec(['python3', '-c', 'print(6 * 7)'])).stdout);
await sandbox.delete();
await client.close();
JS
`;
}

/** Quotes it as one word of a shell. */
function quoted(word: string): string {
  return /^[\w/.:@%+=,[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function onPath(program: string, path: string): boolean {
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
