import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULTS, decide, problems } from '../src/logic.js';

const question = (condition, attempts = [], blocked = undefined) => ({
  incident: { id: 'i', concerns: [{ finding: { condition } }], attempts },
  offers: [{ action: { name: 'restart' }, blocked }],
});
const inVain = { incident: 'i', action: 'restart', ending: { tag: 'verified', val: 'not-healed' } };

test('the remedy is proposed until it was tried in vain too often', () => {
  const { choice } = decide(DEFAULTS, question('queue-too-long', [inVain]));
  assert.equal(choice.val.action, 'restart');
  assert.equal(decide(DEFAULTS, question('queue-too-long', [inVain, inVain])).choice.tag, 'pass');
});

test('another condition and a blocked action are passed on', () => {
  assert.equal(decide(DEFAULTS, question('service-down')).choice.tag, 'pass');
  assert.equal(decide(DEFAULTS, question('queue-too-long', [], 'maintenance')).choice.tag, 'pass');
});

test('a configuration that makes no sense is explained', () => {
  assert.equal(problems({ ...DEFAULTS, action: '' })[0].at, '/action');
});
