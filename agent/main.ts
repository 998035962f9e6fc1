/** The agent as a process: one per node. */
import { pino } from 'pino';
import { isMain } from '../src/lib/is-main.ts';
import { listenProblem } from '../src/lib/listen-problem.ts';
import { exitOnUncaught } from '../src/lib/uncaught.ts';
import { startAgent } from './agent.ts';
import { loadConfig } from './config.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { keepRuntime, noteRuntime } from './runtime-kept.ts';
import { openRuntime } from './runtime/select.ts';
import { spreadSubdirectories } from './spread-directories.ts';

/**
 * Runs until the signal fires, then stops and, unless configured otherwise, leaves all sandboxes to the next agent.
 * @throws Error with the reason if it cannot start.
 */
export async function main(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
  const asked = loadConfig(env);
  const log = pino({ level: asked.logLevel, base: { node: asked.nodeName } });
  using _uncaught = exitOnUncaught(log);
  using lock = await lockDataDir(asked.dataDir, { log });
  if (!lock.held)
    log.warn({ dataDir: asked.dataDir }, 'data directory cannot be locked: do not start a second agent on it');
  await spreadSubdirectories([asked.dataDir], log);
  const config = await keepRuntime(asked, log);
  const runtime = await openRuntime(config, log);
  await noteRuntime(config.dataDir, runtime.name);
  const agent = await startAgent(config, runtime, log).catch(async (error: unknown) => {
    // Without containers nothing may be left, such as a mount or a process; with containers, what they need stays.
    await runtime.close().catch((left: unknown) => log.warn({ err: left }, 'runtime cleanup failed'));
    throw error;
  });
  log.info(
    { event: 'agent_ready', host: config.listen.host, port: agent.port, runtime: runtime.name },
    `agent ${config.nodeName} listens on ${config.listen.host}:${agent.port} (runtime ${runtime.name})`,
  );
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await agent.stop({ destroy: config.onStop === 'destroy' });
  log.info({ event: 'agent_stopped', sandboxes: config.onStop }, 'the agent has stopped');
}

if (isMain(import.meta.url)) {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  try {
    await main(process.env, stop.signal);
    process.exit(0);
  } catch (error) {
    const text =
      listenProblem(error, 'MILLIBOX_AGENT_LISTEN') ?? (error instanceof Error ? error.message : String(error));
    process.stderr.write(`${text}\n`);
    process.exit(1);
  }
}
