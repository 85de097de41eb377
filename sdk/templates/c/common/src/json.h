// Reads the members of one JSON object. Enough for a flat configuration, and no more: heald sends valid JSON, checked
// against the schema.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// The number of that name. False, and `out` as it was, if there is none.
bool json_number(const char *json, size_t len, const char *name, double *out);

// A copy of the text of that name, to be freed; null if there is none.
char *json_text(const char *json, size_t len, const char *name);
