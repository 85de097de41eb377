// What heald calls: the world `policy` of wit/plugin.wit.
import { write } from 'heald:plugin/log@0.1.0';
import { DEFAULTS, decide as think, problems } from './logic.js';

let config = DEFAULTS;

export const decide = {
  // Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
  configure(json) {
    config = { ...DEFAULTS, ...JSON.parse(json) };
    const found = problems(config);
    if (found.length > 0) throw { tag: 'bad-config', val: found };
  },

  // The actions it may ask for, and the window it wants: the newest sample is enough.
  describe() {
    return { actions: [config.action], window: { samples: 1, span: 0n, mode: 'news' }, facts: [] };
  },

  decide(question) {
    const decision = think(config, question);
    write('debug', decision.reason, []);
    return decision;
  },
};
