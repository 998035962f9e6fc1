/** Prometheus metrics that every one of our processes exposes about itself. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { Gauge, type Registry } from 'prom-client';

/**
 * Interval between two samples of the event loop. Node's own monitor and prom-client's default metrics sample every 10
 * ms: two hundred wake-ups a second in an idle process, at the expense of its neighbours' CPU and caches.
 */
const LOOK_EVERY_MS = 100;

/** How late timers fire because the event loop was blocked. A process has one loop, and one monitor of it. */
class LoopLag {
  readonly #lateNs: RecordableHistogram = createHistogram();
  #dueAt = performance.now() + LOOK_EVERY_MS;

  constructor() {
    setInterval(() => {
      const now = performance.now();
      this.#lateNs.record(Math.max(1, Math.round((now - this.#dueAt) * 1e6)));
      this.#dueAt = now + LOOK_EVERY_MS;
    }, LOOK_EVERY_MS).unref();
  }

  /** Seconds, by quantile, since the last call. */
  take(): { quantile: string; seconds: number }[] {
    const seconds = [0.5, 0.99, 1].map((quantile) => ({
      quantile: String(quantile),
      seconds: this.#lateNs.count === 0 ? 0 : this.#lateNs.percentile(quantile * 100) / 1e9,
    }));
    this.#lateNs.reset();
    return seconds;
  }
}

let loopLag: LoopLag | undefined;

/** Adds `event_loop_lag_seconds`, `memory_bytes` and `cpu_seconds`, each prefixed with `prefix`. */
export function addProcessMetrics(registry: Registry, prefix: string): void {
  const lag = (loopLag ??= new LoopLag());
  const registers = [registry];
  new Gauge({
    name: `${prefix}event_loop_lag_seconds`,
    help: 'Event loop delay since the last scrape',
    labelNames: ['quantile'],
    registers,
    collect() {
      for (const { quantile, seconds } of lag.take()) this.set({ quantile }, seconds);
    },
  });
  new Gauge({
    name: `${prefix}memory_bytes`,
    help: 'Resident memory of this process',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: `${prefix}cpu_seconds`,
    help: 'CPU time of this process',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.set((user + system) / 1e6);
    },
  });
}
