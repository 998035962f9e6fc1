/** Hand-made OCI layouts. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { tar, type Entry } from './tar.ts';

export interface LayoutOptions {
  layers: readonly (readonly Entry[])[];
  config?: { Env?: string[]; WorkingDir?: string; User?: string };
  /** Additional fields of the configuration, unknown to OCI. */
  more?: Record<string, string>;
  /** The layers that the configuration claims. Default: the actual ones. */
  claimedLayers?: readonly (readonly Entry[])[];
}

const sha256 = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

/** Writes a layout with an image named `image`, and returns the digest of its configuration: its id. */
export function writeLayout(dir: string, options: LayoutOptions): string {
  const blobs = join(dir, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const put = (data: Buffer, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(data);
    writeFileSync(join(blobs, digest.slice('sha256:'.length)), data);
    return { mediaType, digest, size: data.length };
  };
  const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  const type = (name: string): string => `application/vnd.oci.image.${name}`;
  const layers = options.layers.map((entries) => put(gzipSync(tar(entries)), type('layer.v1.tar+gzip')));
  const diffIds = (options.claimedLayers ?? options.layers).map((entries) => sha256(tar(entries)));
  const config = put(
    json({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: options.config ?? {},
      rootfs: { type: 'layers', diff_ids: diffIds },
      ...options.more,
    }),
    type('config.v1+json'),
  );
  const manifest = put(
    json({ schemaVersion: 2, mediaType: type('manifest.v1+json'), config, layers }),
    type('manifest.v1+json'),
  );
  const named = { ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'image' } };
  writeFileSync(join(dir, 'index.json'), json({ schemaVersion: 2, manifests: [named] }));
  writeFileSync(join(dir, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  return config.digest;
}
