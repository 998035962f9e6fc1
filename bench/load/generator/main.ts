/**
 * A generator process: takes orders from its parent over IPC, one plan after the other, and reports its results. It
 * ends with its parent. API keys arrive in the plan, so that none is in its arguments or its environment.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { Millibox } from '../../../src/sdk/index.ts';
import { Histogram } from '../../report/histogram.ts';
import { sleepUntil } from './pacing.ts';
import type { Order, Plan, Usage, Message } from './plan.ts';
import { Recording } from './recording.ts';
import { createBurst, creates } from './workloads/creates.ts';
import { execClosed, execOpen } from './workloads/exec-storm.ts';
import { rollouts } from './workloads/rollouts.ts';
import { Context, type Workload } from './workloads/workload.ts';

const PROGRESS_MS = 1_000;
const NS_PER_MS = 1e6;

const say = (word: Message): void => void process.send?.(word);
let go = Promise.withResolvers<number>();

process.on('disconnect', () => process.exit(0));
process.on('message', (order: Order) => {
  if (order.type === 'go') go.resolve(order.atMs);
  else if (order.type === 'end') process.exit(0);
  else
    perform(order.plan).catch((error: unknown) => {
      say({ type: 'failed', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    });
});

async function perform(plan: Plan): Promise<void> {
  go = Promise.withResolvers<number>();
  await using client = new Millibox(plan.server);
  const recording = new Recording();
  const context = new Context(plan, client, recording);
  const workload = workloadOf(context, plan);
  try {
    await workload.prepare?.();
    say({ type: 'ready' });
    const startedAt = performance.now() + ((await go.promise) - Date.now());
    recording.startedAt = startedAt;
    await sleepUntil(startedAt);
    const used = new UsageMeter();
    using _report = reporting(workload, context);
    await workload.run(startedAt);
    const usage = used.end();
    await context.deleteKept();
    say({ type: 'done', recording: recording.toJSON(), usage });
  } finally {
    await context.deleteKept();
  }
}

function workloadOf(context: Context, plan: Plan): Workload {
  switch (plan.workload) {
    case 'exec-closed':
      return execClosed(context, plan);
    case 'exec-open':
      return execOpen(context, plan);
    case 'create-burst':
      return createBurst(context, plan);
    case 'creates':
      return creates(context, plan);
    case 'rollouts':
      return rollouts(context, plan);
  }
}

function reporting(workload: Workload, context: Context): Disposable {
  const series = context.recording.series(workload.main);
  let told = 0;
  const timer = setInterval(() => {
    const recent = new Histogram();
    // Complete seconds that have not been reported: a second reported twice would count twice.
    const now = Math.floor((performance.now() - context.recording.startedAt) / 1000);
    for (; told < now; told++) {
      const second = series.seconds.get(told);
      if (second !== undefined) recent.merge(second.times.toJSON());
    }
    const { times, failed } = series;
    const progress = { done: times.count, failed, underWay: context.underWay, recent: recent.toJSON() };
    say({ type: 'progress', progress });
  }, PROGRESS_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Resources that the generator itself uses. */
class UsageMeter {
  readonly #delay = monitorEventLoopDelay({ resolution: 10 });
  readonly #cpu = process.cpuUsage();
  readonly #loop = performance.eventLoopUtilization();
  readonly #startedAt = performance.now();

  constructor() {
    this.#delay.enable();
  }

  end(): Usage {
    this.#delay.disable();
    const { user, system } = process.cpuUsage(this.#cpu);
    return {
      cpuMs: (user + system) / 1000,
      elapsedMs: performance.now() - this.#startedAt,
      busy: performance.eventLoopUtilization(this.#loop).utilization,
      maxStallMs: this.#delay.max / NS_PER_MS,
    };
  }
}
