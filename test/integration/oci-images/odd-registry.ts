/** A test registry on the loopback that answers whatever a test wants. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { tar, type Entry } from './tar.ts';

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: object;
  urls?: string[];
}

export interface OddImage {
  layers: readonly Descriptor[];
  /** The layers' digests as in the configuration: of their uncompressed content. */
  diffIds: readonly string[];
  config?: object;
  architecture?: string;
}

export const OCI = 'application/vnd.oci.image.';
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

export const sha256 = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

export class OddRegistry implements AsyncDisposable {
  readonly #server: http.Server;
  /** `/v2/NAME/blobs/DIGEST` and the like → the answer. Tests may change it. */
  readonly answers = new Map<string, Answer>();
  readonly asked: string[] = [];
  /** Called before any of the answers: true if it has answered itself. */
  guard: (...args: Parameters<Answer>) => boolean = () => false;

  private constructor() {
    this.#server = http.createServer((request, response) => {
      const path = request.url ?? '';
      this.asked.push(path);
      if (this.guard(request, response)) return;
      const answer = this.answers.get(path.split('?')[0] ?? '');
      if (path === '/v2/') response.end('{}');
      else if (answer === undefined) response.writeHead(404).end('{}');
      else answer(request, response);
    });
  }

  static async start(): Promise<OddRegistry> {
    const registry = new OddRegistry();
    registry.#server.listen(0, '127.0.0.1');
    await once(registry.#server, 'listening');
    return registry;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Stores a blob below a name, and returns its descriptor for manifests. */
  blob(name: string, data: Buffer, mediaType: string): Descriptor {
    const digest = sha256(data);
    this.answers.set(`/v2/${name}/blobs/${digest}`, (_request, response) => response.end(data));
    return { mediaType, digest, size: data.length };
  }

  /** A compressed layer, and the digest of its content. */
  layer(name: string, entries: readonly Entry[]): { layer: Descriptor; diffId: string } {
    const data = tar(entries);
    return { layer: this.blob(name, gzipSync(data), `${OCI}layer.v1.tar+gzip`), diffId: sha256(data) };
  }

  /** A manifest, by its digest and optionally a tag. */
  manifest(name: string, value: object, mediaType: string, tag?: string): Descriptor {
    const data = Buffer.from(JSON.stringify(value));
    const digest = sha256(data);
    const answer: Answer = (_request, response) => {
      response.writeHead(200, { 'content-type': mediaType, 'docker-content-digest': digest }).end(data);
    };
    for (const at of [digest, ...(tag === undefined ? [] : [tag])])
      this.answers.set(`/v2/${name}/manifests/${at}`, answer);
    return { mediaType, digest, size: data.length };
  }

  /** An image with its manifest, under the tag `1` by default. */
  image(name: string, { layers, diffIds, config = {}, architecture = ARCHITECTURE }: OddImage, tag = '1'): Descriptor {
    const rootfs = { type: 'layers', diff_ids: diffIds };
    const described = Buffer.from(JSON.stringify({ architecture, os: 'linux', config, rootfs }));
    const mediaType = `${OCI}manifest.v1+json`;
    const value = { schemaVersion: 2, mediaType, config: this.blob(name, described, `${OCI}config.v1+json`), layers };
    return this.manifest(name, value, mediaType, tag);
  }

  /** An image of well-formed layers with these files. */
  imageOf(name: string, ...layers: readonly (readonly Entry[])[]): Descriptor {
    const made = layers.map((entries) => this.layer(name, entries));
    return this.image(name, { layers: made.map(({ layer }) => layer), diffIds: made.map(({ diffId }) => diffId) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
