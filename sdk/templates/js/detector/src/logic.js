// Finds queues that are too long: a custom metric that was beyond a limit in several samples in a row.
//
// It remembers nothing. It asks heald for the last few samples at every call instead, so a restart of heald loses nothing.

// The name under which heald knows what is found. Keep numbers out of it: it is what incidents are told apart by.
export const CONDITION = 'queue-too-long';

export const DEFAULTS = { metric: 'queue_length', limit: 100, samples: 3 };

// What no schema can say: a list of problems, each with a JSON Pointer to the place. Empty is good.
export function problems(config) {
  return config.metric === '' ? [{ at: '/metric', message: 'must name a metric, such as queue_length' }] : [];
}

// Every finding that holds now. One that is left out is over.
export function judge(config, observation) {
  const findings = new Map();
  for (const series of observation.series) {
    const row = newest(config, series);
    if (row.length < config.samples || !row.every((length) => length > config.limit)) continue;
    const subject = series.replica ?? series.probe;
    // Two probes may watch the same queue: (condition, subject) is a finding's identity, and stands once in an answer.
    findings.set(subject, finding(config, subject, row[0]));
  }
  return [...findings.values()];
}

// The metric in the newest samples, newest first. A sample without it ends the row: not measured is not too long.
function newest(config, series) {
  const place = series.metrics.indexOf(config.metric);
  const row = [];
  for (const sample of series.samples.slice(-config.samples).reverse()) {
    const length = place < 0 ? undefined : sample.values[place];
    if (length === undefined || length === null) break;
    row.push(length);
  }
  return row;
}

function finding(config, subject, length) {
  const number = (name, val) => ({ name, value: { tag: 'number', val } });
  return {
    condition: CONDITION,
    subject,
    severity: 'error',
    score: 1,
    predicted: undefined,
    message: `the queue is ${length} long, more than ${config.limit} for ${config.samples} samples`,
    // Evidence in this form is what rules and people can compare: the value, and beside it the limit.
    evidence: [number(config.metric, length), number(`${config.metric}.limit`, config.limit)],
  };
}
