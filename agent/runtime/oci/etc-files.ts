/** The files that a container runtime writes into every image. */

export const ETC_FILES = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'] as const;

/** Like Docker's, with the sandbox's name on the loopback. Without a network there are no name servers. */
export function etcFiles(hostname: string, resolvers: readonly string[]): { path: string; text: string }[] {
  const [hostnameFile, hostsFile, resolversFile] = ETC_FILES;
  const hosts = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff00::0\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    `127.0.1.1\t${hostname}`,
  ];
  return [
    { path: hostnameFile, text: `${hostname}\n` },
    { path: hostsFile, text: `${hosts.join('\n')}\n` },
    { path: resolversFile, text: resolvers.map((address) => `nameserver ${address}\n`).join('') },
  ];
}
