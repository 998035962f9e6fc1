// In a host's network namespace: takes connections on a unix socket, which any namespace reaches, and joins them to a
// port of the host. Arguments: socket, host, port. A plain script, so that it starts at once.
const net = require('node:net');
const [path, host, port] = process.argv.slice(2);
const server = net.createServer({ allowHalfOpen: true }, (near) => {
  const far = net.connect({ host, port: Number(port), allowHalfOpen: true });
  for (const [from, to] of [
    [near, far],
    [far, near],
  ]) {
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
});
server.listen(path, () => process.stdout.write('ready\n'));
