/** Certificates of a test CA: `ca`, `server` for the loopback, and `client`, as `.key` and `.crt`. */
import { execFileSync } from 'node:child_process';

/** How long openssl may take for a key. */
const COMMAND_MS = 60_000;
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
const BY_THE_AUTHORITY = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-addext', 'basicConstraints=critical,CA:FALSE'];

/** @param client the client's subject: `/O=group/CN=user` */
export function makeCertificates(dir: string, client: string): void {
  const openssl = (name: string, subject: string, ...more: string[]): void => {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', subject];
    execFileSync('openssl', ['req', '-x509', ...KEY, ...files, ...more], {
      cwd: dir,
      stdio: 'ignore',
      timeout: COMMAND_MS,
    });
  };
  openssl('ca', '/CN=test-ca');
  const names = 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost';
  openssl('server', '/CN=kube-apiserver', ...BY_THE_AUTHORITY, '-addext', names);
  openssl('client', client, ...BY_THE_AUTHORITY, '-addext', 'extendedKeyUsage=clientAuth');
}
