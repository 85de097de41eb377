import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONDITION, DEFAULTS, judge, problems } from '../src/logic.js';

const config = { ...DEFAULTS, limit: 10, samples: 2 };
const seen = (...lengths) => ({
  series: [{ probe: 'http', metrics: ['queue_length'], samples: lengths.map((length) => ({ values: [length] })) }],
});

test('a queue that stays too long is found, and one that recovers is not', () => {
  assert.deepEqual(judge(config, seen(50)), [], 'once is not yet');
  const [found] = judge(config, seen(1, 50, 60));
  assert.equal(found.condition, CONDITION);
  assert.equal(found.evidence[0].value.val, 60);
  assert.deepEqual(judge(config, seen(50, 60, 3)), [], 'it is over');
});

test('a service without the metric is no business of it', () => {
  assert.deepEqual(judge(config, { series: [{ probe: 'http', metrics: [], samples: [{ values: [] }] }] }), []);
  assert.deepEqual(judge(config, seen(50, undefined)), []);
});

test('a configuration that makes no sense is explained', () => {
  assert.equal(problems({ ...DEFAULTS, metric: '' })[0].at, '/metric');
  assert.deepEqual(problems(DEFAULTS), []);
});
