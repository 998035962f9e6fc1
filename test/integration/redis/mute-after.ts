/** A proxy to Redis that passes no more answers on a connection once a given word was sent, or came back, on it. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

type Speaker = 'gateway' | 'redis';

export class MuteAfter implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #word: string | null;

  private constructor(port: number, word: string, by: Speaker) {
    this.#word = word;
    this.#server = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => [near, far].forEach((each) => each.destroy()));
      }
      near.on('data', (bytes) => {
        if (by === 'gateway' && this.#mutes(bytes)) far.removeAllListeners('data').resume();
        far.write(bytes);
      });
      far.on('data', (bytes) => {
        if (by === 'redis' && this.#mutes(bytes)) far.removeAllListeners('data').resume();
        else near.write(bytes);
      });
    });
  }

  /** @param by who says the word; what Redis says together with it is not passed either */
  static async start(port: number, word: string, by: Speaker = 'gateway'): Promise<MuteAfter> {
    const mute = new MuteAfter(port, word, by);
    mute.#server.listen(0, '127.0.0.1');
    await once(mute.#server, 'listening');
    return mute;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Breaks all connections, and passes everything from now on. */
  heal(): void {
    this.#word = null;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  #mutes(bytes: Buffer): boolean {
    return this.#word !== null && bytes.includes(this.#word);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.heal();
    await Promise.resolve();
  }
}
