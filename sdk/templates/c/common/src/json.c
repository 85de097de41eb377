#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
  const char *at, *end;
};

static void skip_blanks(struct cursor *c) {
  while (c->at < c->end && strchr(" \t\r\n", *c->at)) c->at++;
}

// Moves behind the text that begins here.
static void skip_text(struct cursor *c) {
  for (c->at++; c->at < c->end && *c->at != '"'; c->at++) {
    if (*c->at == '\\') c->at++;
  }
  if (c->at < c->end) c->at++;
}

// Moves behind the value that begins here.
static void skip_value(struct cursor *c) {
  int depth = 0;
  while (c->at < c->end) {
    char letter = *c->at;
    if (letter == '"') {
      skip_text(c);
    } else {
      if (depth == 0 && strchr(",}]", letter)) return;
      if (letter == '{' || letter == '[') depth++;
      if (letter == '}' || letter == ']') depth--;
      c->at++;
    }
    if (depth == 0 && c->at < c->end && strchr(",}] \t\r\n", *c->at)) return;
  }
}

// Moves to the value of that name.
static bool find(struct cursor *c, const char *name) {
  skip_blanks(c);
  if (c->at < c->end && *c->at == '{') c->at++;
  for (;;) {
    skip_blanks(c);
    if (c->at >= c->end || *c->at != '"') return false;
    const char *key = c->at + 1;
    skip_text(c);
    size_t length = (size_t)(c->at - key) - 1;
    skip_blanks(c);
    if (c->at < c->end && *c->at == ':') c->at++;
    skip_blanks(c);
    if (strlen(name) == length && memcmp(name, key, length) == 0) return c->at < c->end;
    skip_value(c);
    skip_blanks(c);
    if (c->at < c->end && *c->at == ',') c->at++;
  }
}

bool json_number(const char *json, size_t len, const char *name, double *out) {
  struct cursor c = {json, json + len};
  if (!find(&c, name)) return false;
  // strtod wants an end, and the text it is in has none.
  char digits[64];
  size_t count = 0;
  while (c.at < c.end && count + 1 < sizeof digits && strchr("+-.eE0123456789", *c.at)) digits[count++] = *c.at++;
  digits[count] = 0;
  if (count == 0) return false;
  *out = strtod(digits, NULL);
  return true;
}

static char *put_utf8(char *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xc0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out++ = (char)(0xe0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    *out++ = (char)(0x80 | (code & 0x3f));
  } else {
    *out++ = (char)(0xf0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 0x3f));
    *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    *out++ = (char)(0x80 | (code & 0x3f));
  }
  return out;
}

// The four hexadecimal digits here, and moves behind them.
static uint32_t hex(struct cursor *c) {
  char digits[5] = {0};
  for (int i = 0; i < 4 && c->at < c->end; i++) digits[i] = *c->at++;
  return (uint32_t)strtoul(digits, NULL, 16);
}

char *json_text(const char *json, size_t len, const char *name) {
  struct cursor c = {json, json + len};
  if (!find(&c, name) || *c.at != '"') return NULL;
  // No escape is shorter than what it stands for.
  char *text = malloc((size_t)(c.end - c.at) + 1), *out = text;
  if (!text) return NULL;
  for (c.at++; c.at < c.end && *c.at != '"';) {
    if (*c.at != '\\' || c.at + 1 >= c.end) {
      *out++ = *c.at++;
      continue;
    }
    char escape = c.at[1];
    c.at += 2;
    if (escape == 'u') {
      uint32_t code = hex(&c);
      if (code >= 0xd800 && code < 0xdc00 && c.end - c.at >= 6 && c.at[0] == '\\' && c.at[1] == 'u') {
        c.at += 2;
        code = 0x10000 + ((code - 0xd800) << 10) + (hex(&c) - 0xdc00);
      }
      out = put_utf8(out, code);
    } else {
      const char *place = strchr("bfnrt", escape);
      *out++ = place ? "\b\f\n\r\t"[place - "bfnrt"] : escape;
    }
  }
  *out = 0;
  return text;
}
