// The action `announce`: writes a line into the log of heald. It changes nothing, so it is safe to play with.
//
// An action is only performed once the guard of heald has permitted it. What it says afterwards is a claim: whether the
// service is well again, heald finds out by probing it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action.h"
#include "json.h"

#define ACTION "announce"

// The JSON Schema of its parameters. heald checks them before it calls.
static const char PARAMETERS[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"text\":{\"type\":\"string\",\"maxLength\":500}}}";

static char *prefix;

// Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
bool exports_heald_plugin_act_configure(action_string_t *config, heald_plugin_types_error_t *err) {
  (void)err;
  free(prefix);
  prefix = json_text((const char *)config->ptr, config->len, "prefix");
  if (!prefix) prefix = strdup("announcement");
  action_string_free(config);
  return true;
}

// The actions it offers.
void exports_heald_plugin_act_describe(exports_heald_plugin_act_list_action_info_t *offers) {
  heald_plugin_types_action_info_t *info = calloc(1, sizeof *info);
  action_string_dup(&info->name, ACTION);
  action_string_dup(&info->summary, "writes a line into the log");
  action_string_dup(&info->parameters, PARAMETERS);
  // A message touches no service: it costs no budget, and there is nothing to verify.
  info->disruptive = false;
  offers->ptr = info;
  offers->len = 1;
}

static bool is(const action_string_t *text, const char *other) {
  return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

// The line that this task asks for, to be freed; null, and `err` says why, if it asks for something else.
static char *line(const exports_heald_plugin_act_task_t *task, heald_plugin_types_error_t *err) {
  if (!is(&task->action, ACTION)) {
    err->tag = HEALD_PLUGIN_TYPES_ERROR_UNSUPPORTED;
    action_string_dup(&err->val.unsupported, "only " ACTION " is what this plug-in does");
    return NULL;
  }
  size_t room = strlen(prefix) + task->parameters.len + task->service.name.len + 64;
  char *text = json_text((const char *)task->parameters.ptr, task->parameters.len, "text");
  char *made = malloc(room);
  if (text) {
    snprintf(made, room, "%s: %s", prefix, text);
  } else {
    snprintf(made, room, "%s: something is up with %.*s", prefix, (int)task->service.name.len, task->service.name.ptr);
  }
  free(text);
  return made;
}

// A sentence with the line in it.
static void say(action_string_t *summary, const char *form, const char *text) {
  size_t room = strlen(form) + strlen(text) + 1;
  char *made = malloc(room);
  snprintf(made, room, form, text);
  action_string_dup(summary, made);
  free(made);
}

// What would be done, without doing it: the dry run.
bool exports_heald_plugin_act_check(exports_heald_plugin_act_task_t *task, exports_heald_plugin_act_plan_t *plan,
                                    heald_plugin_types_error_t *err) {
  memset(plan, 0, sizeof *plan);
  char *text = line(task, err);
  if (text) say(&plan->summary, "would write `%s`", text);
  exports_heald_plugin_act_task_free(task);
  bool done = text != NULL;
  free(text);
  return done;
}

// Does it. `task->attempt` is the same if heald, after a crash, asks for the same attempt again.
bool exports_heald_plugin_act_perform(exports_heald_plugin_act_task_t *task, exports_heald_plugin_act_receipt_t *receipt,
                                      heald_plugin_types_error_t *err) {
  // Nothing was changed. An action that can be undone answers with `undo`: all that undoing needs, as bytes.
  memset(receipt, 0, sizeof *receipt);
  char *text = line(task, err);
  if (text) {
    action_string_t message;
    action_string_set(&message, text);
    heald_plugin_log_list_fact_t facts = {0};
    heald_plugin_log_write(HEALD_PLUGIN_LOG_LEVEL_INFO, &message, &facts);
    say(&receipt->summary, "wrote `%s`", text);
  }
  exports_heald_plugin_act_task_free(task);
  bool done = text != NULL;
  free(text);
  return done;
}

bool exports_heald_plugin_act_undo(exports_heald_plugin_act_task_t *task, heald_plugin_types_blob_t *token,
                                   exports_heald_plugin_act_receipt_t *receipt, heald_plugin_types_error_t *err) {
  (void)receipt;
  err->tag = HEALD_PLUGIN_TYPES_ERROR_UNSUPPORTED;
  action_string_dup(&err->val.unsupported, ACTION " cannot be undone");
  exports_heald_plugin_act_task_free(task);
  heald_plugin_types_blob_free(token);
  return false;
}
