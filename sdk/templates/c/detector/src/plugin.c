// Finds queues that are too long: a custom metric that was beyond a limit in several samples in a row.
//
// It remembers nothing. It asks heald for the last few samples at every call instead, so a restart of heald loses nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "detector.h"
#include "json.h"

// The name under which heald knows what is found. Keep numbers out of it: it is what incidents are told apart by.
#define CONDITION "queue-too-long"

static char *metric;
static double limit;
static uint32_t samples;

// Once for each instance, before anything else. heald has checked the configuration against config.schema.json.
bool exports_heald_plugin_detect_configure(detector_string_t *config, heald_plugin_types_error_t *err) {
  const char *json = (const char *)config->ptr;
  double wanted = 3;
  limit = 100;
  json_number(json, config->len, "limit", &limit);
  json_number(json, config->len, "samples", &wanted);
  samples = (uint32_t)wanted;
  free(metric);
  metric = json_text(json, config->len, "metric");
  if (!metric) metric = strdup("queue_length");
  detector_string_free(config);
  if (metric && *metric) return true;
  // What no schema can say: a list of problems, each with a JSON Pointer to the place.
  heald_plugin_types_problem_t *problem = malloc(sizeof *problem);
  detector_string_dup(&problem->at, "/metric");
  detector_string_dup(&problem->message, "must name a metric, such as queue_length");
  err->tag = HEALD_PLUGIN_TYPES_ERROR_BAD_CONFIG;
  err->val.bad_config.ptr = problem;
  err->val.bad_config.len = 1;
  return false;
}

// What it may report, and the window it wants. Sliding: the newest samples at every call, seen before or not.
void exports_heald_plugin_detect_describe(exports_heald_plugin_detect_about_t *about) {
  memset(about, 0, sizeof *about);
  about->conditions.ptr = malloc(sizeof(detector_string_t));
  about->conditions.len = 1;
  detector_string_dup(about->conditions.ptr, CONDITION);
  about->window.samples = samples;
  about->window.mode = HEALD_PLUGIN_TYPES_WINDOW_MODE_SLIDING;
}

static bool is(const detector_string_t *text, const char *other) {
  return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

// The length of the queue, if the newest samples are all beyond the limit. One without the metric ends the row: not measured
// is not too long.
static bool too_long(const heald_plugin_types_series_t *series, double *length) {
  size_t place = 0;
  while (place < series->metrics.len && !is(&series->metrics.ptr[place], metric)) place++;
  if (place == series->metrics.len || series->samples.len < samples) return false;
  for (size_t i = series->samples.len - samples; i < series->samples.len; i++) {
    const heald_plugin_types_sample_t *sample = &series->samples.ptr[i];
    if (place >= sample->values.len) return false;
    detector_option_f64_t value = sample->values.ptr[place];
    if (!value.is_some || value.val <= limit) return false;
    *length = value.val;
  }
  return true;
}

static void set_fact(heald_plugin_types_fact_t *fact, const char *suffix, double value) {
  char name[256];
  snprintf(name, sizeof name, "%s%s", metric, suffix);
  detector_string_dup(&fact->name, name);
  fact->value.tag = HEALD_PLUGIN_TYPES_SCALAR_NUMBER;
  fact->value.val.number = value;
}

static void set_finding(heald_plugin_types_finding_t *finding, const detector_string_t *subject, double length) {
  char message[256];
  snprintf(message, sizeof message, "the queue is %g long, more than %g for %u samples", length, limit, (unsigned)samples);
  memset(finding, 0, sizeof *finding);
  detector_string_dup(&finding->condition, CONDITION);
  finding->subject.is_some = true;
  detector_string_dup_n(&finding->subject.val, (const char *)subject->ptr, subject->len);
  finding->severity = HEALD_PLUGIN_TYPES_SEVERITY_ERROR;
  finding->score = 1;
  detector_string_dup(&finding->message, message);
  // Evidence in this form is what rules and people can compare: the value, and beside it the limit.
  finding->evidence.ptr = malloc(2 * sizeof(heald_plugin_types_fact_t));
  finding->evidence.len = 2;
  set_fact(&finding->evidence.ptr[0], "", length);
  set_fact(&finding->evidence.ptr[1], ".limit", limit);
}

static bool is_found(const exports_heald_plugin_detect_list_finding_t *findings, const detector_string_t *subject) {
  for (size_t i = 0; i < findings->len; i++) {
    const detector_string_t *known = &findings->ptr[i].subject.val;
    if (known->len == subject->len && memcmp(known->ptr, subject->ptr, known->len) == 0) return true;
  }
  return false;
}

// Every finding that holds now. One that is left out is over.
bool exports_heald_plugin_detect_evaluate(exports_heald_plugin_detect_observation_t *seen,
                                          exports_heald_plugin_detect_verdict_t *verdict,
                                          heald_plugin_types_error_t *err) {
  (void)err;
  // All zero: no findings, no gauges, no state. `state` is bytes that heald keeps and hands back at the next call.
  memset(verdict, 0, sizeof *verdict);
  verdict->findings.ptr = malloc(seen->series.len * sizeof(heald_plugin_types_finding_t) + 1);
  for (size_t i = 0; i < seen->series.len; i++) {
    const heald_plugin_types_series_t *series = &seen->series.ptr[i];
    const detector_string_t *subject = series->replica.is_some ? &series->replica.val : &series->probe;
    double length;
    // Two probes may watch the same queue: (condition, subject) is a finding's identity, and stands once in an answer.
    if (!too_long(series, &length) || is_found(&verdict->findings, subject)) continue;
    set_finding(&verdict->findings.ptr[verdict->findings.len++], subject, length);
  }
  exports_heald_plugin_detect_observation_free(seen);
  return true;
}
