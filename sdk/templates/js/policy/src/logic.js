// Knows one remedy for one condition, and proposes it as long as it was not tried in vain too often. Else it passes, and the
// next policy is asked.
//
// It proposes; the guard of heald disposes: cooldowns, budgets and maintenance are no business of a policy.

export const DEFAULTS = { condition: 'queue-too-long', action: 'restart', tries: 2 };

// What no schema can say: a list of problems, each with a JSON Pointer to the place. Empty is good.
export function problems(config) {
  return config.action === '' ? [{ at: '/action', message: 'must name an action, such as restart' }] : [];
}

export function decide(config, question) {
  const { condition, action, tries } = config;
  if (question.incident.concerns[0]?.finding.condition !== condition) {
    return pass(`this policy knows about ${condition} only`);
  }
  const inVain = question.incident.attempts.filter(
    (attempt) => attempt.incident === question.incident.id && attempt.action === action && isSpent(attempt.ending),
  ).length;
  if (inVain >= tries) return pass(`${action} did not help ${inVain} times`);
  const offer = question.offers.find((each) => each.action.name === action);
  if (offer === undefined || (offer.blocked ?? undefined) !== undefined) return pass(`${action} is not to be had now`);
  const proposal = { action, parameters: '{}', verifyWithin: undefined };
  return decision({ tag: 'act', val: proposal }, 0.8, `${action} is known to help against ${condition}`);
}

// Only what was tried and did not help counts, not what is still under way or was withheld.
function isSpent({ tag, val }) {
  return tag === 'failed' || (tag === 'verified' && (val === 'not-healed' || val === 'worse'));
}

function pass(reason) {
  return decision({ tag: 'pass' }, 1, reason);
}

function decision(choice, confidence, reason) {
  return { choice, confidence, reason, considered: [], facts: [], againIn: undefined, state: undefined };
}
