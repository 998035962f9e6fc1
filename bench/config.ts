/** The only place where the benchmarks read the environment. */

export function environment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of ['PATH', 'HOME', 'LANG', 'TMPDIR', 'DOCKER_HOST', 'MILLIBOX_REGISTRY', 'MILLIBOX_RUNTIME', 'CI']) {
    const value = process.env[name];
    if (value !== undefined && value !== '') kept[name] = value;
  }
  return kept;
}

/** The API key for `--url`. */
export const apiKey = (): string | undefined => process.env['MILLIBOX_API_KEY'];
