// The action `announce`: writes a line into the log of heald. It changes nothing, so it is safe to play with.
//
// An action is only performed once the guard of heald has permitted it. What it says afterwards is a claim: whether the
// service is well again, heald finds out by probing it.

export const ACTION = 'announce';
export const DEFAULTS = { prefix: 'announcement' };

export const INFO = {
  name: ACTION,
  summary: 'writes a line into the log',
  // The JSON Schema of its parameters. heald checks them before it calls.
  parameters: JSON.stringify({
    type: 'object',
    additionalProperties: false,
    properties: { text: { type: 'string', maxLength: 500 } },
  }),
  // A message touches no service: it costs no budget, and there is nothing to verify.
  disruptive: false,
  undoable: false,
  facts: [],
};

// The line that this task asks for.
export function line(config, task) {
  if (task.action !== ACTION) throw { tag: 'unsupported', val: `${task.action} is not what this plug-in does` };
  const { text = `something is up with ${task.service.name}` } = JSON.parse(task.parameters);
  return `${config.prefix}: ${text}`;
}
