/** The gateway as a process: `node src/gateway/main.ts`, configured by its environment (config.ts). */
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { hostPort } from '../lib/host-port.ts';
import { isMain } from '../lib/is-main.ts';
import { listenProblem } from '../lib/listen-problem.ts';
import type { Logger } from '../lib/logger.ts';
import { exitOnUncaught } from '../lib/uncaught.ts';
import { dialNode } from '../mux/index.ts';
import { buildApp } from './app.ts';
import { ConfigError, environment, loadConfig, type GatewayConfig } from './config.ts';
import { createNativeDoor } from './doors/native/door.ts';
import { createPrimeDoor } from './doors/prime/door.ts';
import type { Door } from './doors/door.ts';
import { openShared } from './redis/shared-state.ts';
import { startServices, type Services } from './services.ts';

const DIAL_DEADLINE_MS = 10_000;

export interface Gateway {
  /** Where it listens. */
  readonly url: string;
  /** Replaces tenants and keys; ignores everything else in the config. */
  replaceTenants(config: GatewayConfig): void;
  /** Gives work in progress `drainMs`, then closes everything. Idempotent. */
  stop(): Promise<void>;
}

/** @throws ConfigError, or the error of a port that cannot be bound. */
export async function startGateway(config: GatewayConfig, log: Logger): Promise<Gateway> {
  const services = startServices(config, {
    log,
    shared: await openShared(config, log),
    dial: (address) => (signal) =>
      dialNode(address.url, { secret: config.nodeSecret, deadlineMs: DIAL_DEADLINE_MS, signal }),
  });
  const doors = [createNativeDoor(), createPrimeDoor()];
  const app = await listen(services, config, doors).catch(async (error: unknown) => {
    await services.stop();
    throw error;
  });
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.listen.port;
  // From now on the other gateway on this port takes the new connections.
  if (config.reusePort) services.lifecycle.onDrain(() => app.server.close());
  let stopped: Promise<void> | null = null;
  return {
    url: `http://${hostPort(config.listen.host, port)}`,
    replaceTenants: (next) => services.replaceTenants(next),
    stop: () =>
      (stopped ??= (async () => {
        await services.lifecycle.drain(config.drainMs);
        for (const door of doors) door.close?.();
        await app.close();
        await services.stop();
      })()),
  };
}

async function listen(services: Services, config: GatewayConfig, doors: readonly Door[]): Promise<FastifyInstance> {
  const app = await buildApp(services, config, doors);
  const { host, port } = config.listen;
  const shared = config.reusePort ? { reusePort: true } : {};
  await app.listen({ host, port, ...shared });
  return app;
}

/** Runs until the signal fires; reloads tenants and keys on SIGHUP. Resolves once everything is closed. */
export async function main(env: Record<string, string | undefined>, signal: AbortSignal): Promise<void> {
  const config = loadConfig(env);
  const log = pino({ level: config.logLevel, base: { service: 'gateway' } });
  using _uncaught = exitOnUncaught(log);
  const gateway = await startGateway(config, log);
  log.info({ url: gateway.url, nodes: config.nodes.map((node) => node.url) }, 'gateway listens');
  const reload = (): void => {
    try {
      gateway.replaceTenants(loadConfig(env));
      log.info({}, 'tenants and keys reloaded');
    } catch (error) {
      log.error(
        { reason: error instanceof ConfigError ? error.message : String(error) },
        'tenants and keys could not be reloaded and stay as they were',
      );
    }
  };
  process.on('SIGHUP', reload);
  if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  log.info({}, 'gateway is draining');
  await gateway.stop();
  process.off('SIGHUP', reload);
  log.info({}, 'gateway has stopped');
}

function reasonOf(error: unknown): string {
  if (error instanceof ConfigError) return error.message;
  return listenProblem(error, 'MILLIBOX_LISTEN') ?? String((error as Error)?.stack ?? error);
}

function run(): void {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  main(environment(), stop.signal).then(
    // Everything was closed in order; exit even if a stray handle is left.
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`millibox gateway: ${reasonOf(error)}\n`);
      process.exit(1);
    },
  );
}

if (isMain(import.meta.url)) run();
