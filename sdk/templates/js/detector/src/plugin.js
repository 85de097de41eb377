// What heald calls: the world `detector` of wit/plugin.wit.
import { write } from 'heald:plugin/log@0.1.0';
import { CONDITION, DEFAULTS, judge, problems } from './logic.js';

let config = DEFAULTS;

export const detect = {
  // Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
  configure(json) {
    config = { ...DEFAULTS, ...JSON.parse(json) };
    const found = problems(config);
    if (found.length > 0) throw { tag: 'bad-config', val: found };
  },

  // What it may report, and the window it wants. `sliding`: the newest samples at every call, seen before or not.
  describe() {
    return { conditions: [CONDITION], window: { samples: config.samples, span: 0n, mode: 'sliding' }, facts: [] };
  },

  evaluate(observation) {
    const findings = judge(config, observation);
    for (const { message } of findings) write('debug', message, []);
    // `state`: bytes that heald keeps and hands back at the next call of this service.
    return { findings, gauges: [], state: undefined };
  },
};
