import { once } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import { Ports } from './ports.ts';
import { fakeClient } from './testing/fake-client.ts';
import type { FakeGateway } from './testing/fake-gateway.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

function bench(onOther: FakeGateway['onOther']): { gateway: FakeGateway; ports: Ports } {
  const { gateway, connection, http } = fakeClient(() => undefined);
  gateway.onOther = onOther;
  return { gateway, ports: new Ports({ streams: connection, http, sandbox: 'sbx-1' }) };
}

const pattern = (n: number): Buffer => Buffer.from(Uint8Array.from({ length: n }, (_, i) => (i * 7919) >>> 6));

describe('a port', () => {
  const echo: FakeGateway['onOther'] = (stream) => {
    if (stream.request['port'] !== 80) throw new ServiceError('port_refused');
    stream.accept();
    return {
      data: (_channel, bytes) => {
        const n = bytes.length;
        const drained = stream.write(Channel.BYTES, bytes);
        if (drained === undefined) stream.consume(n);
        else void drained.then(() => stream.consume(n));
      },
      fin: (channel) => {
        if (channel === Channel.ALL) stream.end();
      },
    };
  };

  it('is a duplex with half-close and backpressure', async () => {
    const { ports } = bench(echo);
    const socket = await ports.connect(80);
    const content = pattern(2_000_000);
    socket.end(content);
    const got: Buffer[] = [];
    for await (const chunk of socket) got.push(chunk as Buffer);
    expect(Buffer.concat(got).equals(content)).toBe(true);
  });

  it('is refused where nothing listens', async () => {
    const { ports } = bench(echo);
    await expect(ports.connect(81)).rejects.toMatchObject({ code: 'port_refused' });
  });

  it('that is given up before there is a sandbox is not connected to once there is', async () => {
    const { gateway, connection, http } = fakeClient(() => undefined);
    const opened: unknown[] = [];
    gateway.onOther = (stream) => {
      opened.push(stream.request['port']);
      return echo(stream);
    };
    const created = Promise.withResolvers<string>();
    const ports = new Ports({ streams: connection, http, sandbox: created.promise });
    const abort = new AbortController();
    const given = expect(ports.connect(80, { signal: abort.signal })).rejects.toThrow('enough');
    abort.abort(new Error('enough'));
    await given;
    created.resolve('sbx-1');
    (await new Ports({ streams: connection, http, sandbox: 'sbx-1' }).connect(80)).destroy();
    expect(opened).toEqual([80]);
  });

  it('that is given up before it is open is let go of', async () => {
    const asked = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<unknown>();
    const { ports } = bench(() => {
      asked.resolve();
      return { data: () => undefined, closed: (error) => closed.resolve(error?.code) };
    });
    const abort = new AbortController();
    const given = expect(ports.connect(80, { signal: abort.signal })).rejects.toThrow('enough');
    await asked.promise;
    abort.abort(new Error('enough'));
    await given;
    expect(await closed.promise).toBe('cancelled');
  });

  it('fails when the link is lost', async () => {
    const { ports, gateway } = bench(echo);
    const socket = await ports.connect(80);
    const failed = once(socket, 'error');
    gateway.cut();
    expect(((await failed) as [ServiceError])[0].code).toBe('interrupted');
  });

  it('that was read to its end does not fail when its sandbox ends', async () => {
    const { ports, gateway } = bench((stream) => {
      stream.accept();
      void stream.write(Channel.BYTES, Buffer.from('all of it'));
      stream.end();
      return {};
    });
    const socket = await ports.connect(80);
    const failed = vi.fn();
    socket.on('error', failed);
    const closed = once(socket, 'close');
    const got: Buffer[] = [];
    for await (const chunk of socket) got.push(chunk as Buffer);
    expect(Buffer.concat(got).toString()).toBe('all of it');
    gateway.cut();
    await closed;
    expect(failed).not.toHaveBeenCalled();
  });
});
