// What heald calls: the world `action` of wit/plugin.wit.
import { write } from 'heald:plugin/log@0.1.0';
import { DEFAULTS, INFO, line } from './logic.js';

let config = DEFAULTS;

export const act = {
  // Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
  configure(json) {
    config = { ...DEFAULTS, ...JSON.parse(json) };
  },

  // The actions it offers.
  describe() {
    return [INFO];
  },

  // What would be done, without doing it: the dry run.
  check(task) {
    return { summary: `would write \`${line(config, task)}\``, facts: [] };
  },

  // Does it. `task.attempt` is the same if heald, after a crash, asks for the same attempt again.
  perform(task) {
    const text = line(config, task);
    write('info', text, []);
    // Nothing was changed. An action that can be undone answers with `undo`: all that undoing needs, as bytes.
    return { summary: `wrote \`${text}\``, changed: false, facts: [], undo: undefined };
  },

  undo(task) {
    throw { tag: 'unsupported', val: `${task.action} cannot be undone` };
  },
};
