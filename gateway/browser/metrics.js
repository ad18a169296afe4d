// The text that Prometheus reads, for the few numbers that GraphQL does not have.

const SAMPLE = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;

export async function readMetrics() {
  const response = await fetch("/metrics", { signal: AbortSignal.timeout(5_000) });
  if (!response.ok) throw new Error(`/metrics answered ${response.status}`);
  return new Metrics(await response.text());
}

class Metrics {
  #samples;

  constructor(text) {
    this.#samples = text
      .split("\n")
      .map((line) => SAMPLE.exec(line))
      .filter(Boolean)
      .map(([, name, labels = "", value]) => ({
        name,
        labels: labelsOf(labels),
        value: Number(value),
      }));
  }

  /** The value of one without labels, or null. */
  value(name) {
    return this.#samples.find((sample) => sample.name === name)?.value ?? null;
  }

  /** The sums by one label, as a map. */
  sums(name, label) {
    const sums = new Map();
    for (const sample of this.#samples) {
      if (sample.name !== name) continue;
      const key = sample.labels[label];
      sums.set(key, (sums.get(key) ?? 0) + sample.value);
    }
    return sums;
  }
}

const labelsOf = (text) =>
  Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value]));
