// Knows one remedy for one condition, and proposes it as long as it was not tried in vain too often. Else it passes, and the
// next policy is asked.
//
// It proposes; the guard of heald disposes: cooldowns, budgets and maintenance are no business of a policy.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "policy.h"

static char *condition, *action;
static uint32_t tries;

static char *text_or(const policy_string_t *config, const char *name, const char *otherwise) {
  char *text = json_text((const char *)config->ptr, config->len, name);
  return text ? text : strdup(otherwise);
}

// Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
bool exports_heald_plugin_decide_configure(policy_string_t *config, heald_plugin_types_error_t *err) {
  double wanted = 2;
  json_number((const char *)config->ptr, config->len, "tries", &wanted);
  tries = (uint32_t)wanted;
  free(condition);
  free(action);
  condition = text_or(config, "condition", "queue-too-long");
  action = text_or(config, "action", "restart");
  policy_string_free(config);
  if (action && *action) return true;
  // What no schema can say: a list of problems, each with a JSON Pointer to the place.
  heald_plugin_types_problem_t *problem = malloc(sizeof *problem);
  policy_string_dup(&problem->at, "/action");
  policy_string_dup(&problem->message, "must name an action, such as restart");
  err->tag = HEALD_PLUGIN_TYPES_ERROR_BAD_CONFIG;
  err->val.bad_config.ptr = problem;
  err->val.bad_config.len = 1;
  return false;
}

// The actions it may ask for, and the window it wants: the newest sample is enough.
void exports_heald_plugin_decide_describe(exports_heald_plugin_decide_about_t *about) {
  memset(about, 0, sizeof *about);
  about->actions.ptr = malloc(sizeof(policy_string_t));
  about->actions.len = 1;
  policy_string_dup(about->actions.ptr, action);
  about->window.samples = 1;
  about->window.mode = HEALD_PLUGIN_TYPES_WINDOW_MODE_NEWS;
}

static bool is(const policy_string_t *text, const char *other) {
  return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

// Only what was tried and did not help counts, not what is still under way or was withheld.
static bool is_spent(const heald_plugin_types_ending_t *ending) {
  if (ending->tag == HEALD_PLUGIN_TYPES_ENDING_FAILED) return true;
  return ending->tag == HEALD_PLUGIN_TYPES_ENDING_VERIFIED &&
         (ending->val.verified == HEALD_PLUGIN_TYPES_OUTCOME_NOT_HEALED ||
          ending->val.verified == HEALD_PLUGIN_TYPES_OUTCOME_WORSE);
}

static uint32_t tried_in_vain(const heald_plugin_types_incident_t *incident) {
  uint32_t count = 0;
  for (size_t i = 0; i < incident->attempts.len; i++) {
    const heald_plugin_types_attempt_t *attempt = &incident->attempts.ptr[i];
    bool mine = attempt->incident.len == incident->id.len &&
                memcmp(attempt->incident.ptr, incident->id.ptr, incident->id.len) == 0;
    if (mine && is(&attempt->action, action) && is_spent(&attempt->ending)) count++;
  }
  return count;
}

static bool is_to_be_had(const exports_heald_plugin_decide_list_offer_t *offers) {
  for (size_t i = 0; i < offers->len; i++) {
    if (is(&offers->ptr[i].action.name, action)) return !offers->ptr[i].blocked.is_some;
  }
  return false;
}

static void say(policy_string_t *reason, const char *form, ...) {
  char text[512];
  va_list parts;
  va_start(parts, form);
  vsnprintf(text, sizeof text, form, parts);
  va_end(parts);
  policy_string_dup(reason, text);
}

bool exports_heald_plugin_decide_decide(exports_heald_plugin_decide_question_t *question,
                                        exports_heald_plugin_decide_decision_t *decision,
                                        heald_plugin_types_error_t *err) {
  (void)err;
  // All zero: nothing considered, no facts, no state.
  memset(decision, 0, sizeof *decision);
  decision->choice.tag = EXPORTS_HEALD_PLUGIN_DECIDE_CHOICE_PASS;
  decision->confidence = 1;
  const heald_plugin_types_incident_t *incident = &question->incident;
  uint32_t in_vain = tried_in_vain(incident);
  if (incident->concerns.len == 0 || !is(&incident->concerns.ptr[0].finding.condition, condition)) {
    say(&decision->reason, "this policy knows about %s only", condition);
  } else if (in_vain >= tries) {
    say(&decision->reason, "%s did not help %u times", action, (unsigned)in_vain);
  } else if (!is_to_be_had(&question->offers)) {
    say(&decision->reason, "%s is not to be had now", action);
  } else {
    decision->choice.tag = EXPORTS_HEALD_PLUGIN_DECIDE_CHOICE_ACT;
    policy_string_dup(&decision->choice.val.act.action, action);
    policy_string_dup(&decision->choice.val.act.parameters, "{}");
    decision->confidence = 0.8;
    say(&decision->reason, "%s is known to help against %s", action, condition);
  }
  exports_heald_plugin_decide_question_free(question);
  return true;
}
