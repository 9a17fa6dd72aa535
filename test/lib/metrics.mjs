// A strict reader of the Prometheus text format 0.0.4, as far as the suite needs it.

const TYPE = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram|summary|untyped)$/;
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)(?: -?\d+)?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"/g;
const UNESCAPED = { '\\"': '"', '\\\\': '\\', '\\n': '\n' };

class Snapshot {
  types = new Map(); // family -> type
  samples = []; // { name, labels, value }

  /** The sum of the samples of that name which carry these labels; 0 when there is none yet. */
  value(name, labels = {}) {
    return this.samples
      .filter((sample) => sample.name === name)
      .filter((sample) => Object.entries(labels).every(([key, want]) => sample.labels[key] === want))
      .reduce((sum, { value }) => sum + value, 0);
  }
}

/** Parses a page of metrics; throws on a line that is not in the format, untyped samples, and a series given twice. */
export function parseMetrics(text) {
  if (!text.endsWith('\n')) throw new Error('metrics: the last line has no line feed');
  const page = new Snapshot();
  const seen = new Set();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    if (line.startsWith('#')) {
      const [, family, type] = line.match(TYPE) ?? [];
      if (family) page.types.set(family, type);
      continue;
    }
    const [, name, labelText = '', number] = line.match(SAMPLE) ?? [];
    if (!name) throw new Error(`metrics: cannot read ${JSON.stringify(line)}`);
    const family = name.replace(/_(bucket|sum|count)$/, '');
    if (!page.types.has(name) && !page.types.has(family)) throw new Error(`metrics: ${name} has no TYPE line before it`);
    const labels = Object.fromEntries([...labelText.matchAll(LABEL)].map(([, key, value]) => [key, unescape(value)]));
    const series = `${name}${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(series)) throw new Error(`metrics: ${line} appears twice`);
    seen.add(series);
    page.samples.push({ name, labels, value: Number(number.replace('Inf', 'Infinity')) });
  }
  return page;
}

function unescape(value) {
  return value.replace(/\\["\\n]/g, (pair) => UNESCAPED[pair]);
}
