import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACTION, DEFAULTS, line } from '../src/logic.js';

const task = (action, parameters) => ({ action, parameters, service: { name: 'web' } });

test('the line is what was asked for', () => {
  assert.equal(line(DEFAULTS, task(ACTION, '{"text": "hello"}')), 'announcement: hello');
  assert.equal(line({ prefix: 'x' }, task(ACTION, '{}')), 'x: something is up with web');
});

test('what it does not do it says', () => {
  assert.throws(() => line(DEFAULTS, task('reboot', '{}')), { tag: 'unsupported' });
});
