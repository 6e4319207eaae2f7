// From the body of a refusal to a ServerError.

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/base/ascii.h"
#include "engine/base/json_text.h"
#include "remote/api_error.h"
#include "remote/asked_wait.h"
#include "remote/json_fields.h"
#include "remote/plain_line.h"
#include "remote/time_text.h"

namespace tern {
namespace {

using Json = nlohmann::json;

std::string one_line(std::string_view text) {
  return plain_line(text, kMostWordsBytes);
}

// A moment as Unix time in seconds or milliseconds, or as ISO 8601 or HTTP write it.
std::optional<int64_t> moment_of(const Json& value) {
  if (const auto number = number_in(value)) {
    constexpr double kMillisecondsOf2001 = 1e12;
    constexpr double kMost = 1e15;  // the year 33658
    const double ms = *number < kMillisecondsOf2001 ? *number * 1000 : *number;
    return ms > 0 && ms < kMost ? std::optional(static_cast<int64_t>(ms)) : std::nullopt;
  }
  if (!value.is_string()) {
    return {};
  }
  const auto& text = value.get_ref<const std::string&>();
  const auto iso = parse_iso_time(text);
  return iso ? iso : parse_http_date(text);
}

// Names of members without regard to case and to what joins their words.
std::string plain_name(const std::string& name) {
  std::string plain = lower(name);
  std::erase_if(plain, [](char c) { return c == '_' || c == '-' || c == ' '; });
  return plain;
}

// Milliseconds in one of the unit of a member that says how long to wait; 0: the member says
// something else.
double unit_of_wait(const std::string& name) {
  struct Wait {
    std::string_view name;
    double unit_ms;
  };
  static constexpr Wait kWaits[] = {
      {"retryafterms", 1},        {"retryaftermilliseconds", 1},
      {"retryafter", 1e3},        {"retryafterseconds", 1e3},
      {"retryaftersecs", 1e3},    {"retrydelay", 1e3},
      {"retryin", 1e3},           {"retryinseconds", 1e3},
      {"quotaresetdelay", 1e3},   {"waitseconds", 1e3},
      {"waittime", 1e3},          {"secondsremaining", 1e3},
      {"resetin", 1e3},           {"resetinseconds", 1e3},
      {"resetafter", 1e3},        {"resetafterseconds", 1e3},
      {"remainingseconds", 1e3},  {"estimatedtime", 1e3},
      {"remainingminutes", 60e3}, {"cooldownseconds", 1e3},
  };
  const auto found = std::ranges::find(kWaits, std::string_view(name), &Wait::name);
  return found == std::end(kWaits) ? 0 : found->unit_ms;
}

bool names_a_reset(const std::string& name) {
  static constexpr std::string_view kResets[] = {
      "resetat",         "resetsat",    "resettime", "resettimestamp", "quotaresettimestamp",
      "xratelimitreset", "availableat", "retryat",   "nextresettime",
  };
  return std::ranges::find(kResets, std::string_view(name)) != std::end(kResets);
}

void read_wait(const Json& value, double unit_ms, ServerError& error) {
  std::optional<double> ms;
  if (const auto number = number_in(value)) {
    ms = *number * unit_ms;
  } else if (value.is_string()) {
    ms = duration_at(lower(value.get_ref<const std::string&>()), unit_ms);  // Google's "33.5s"
  }
  if (ms && !error.retry_after_ms) {
    error.retry_after_ms = wait_ahead(*ms);
  }
}

// Times stand in the error, in its metadata, in headers that are repeated there, in a list of
// details: they are told by their names.
void read_times(const Json& value, ServerError& error, int depth = 0) {
  constexpr int kMostDepth = 6;
  if (depth > kMostDepth || !value.is_structured()) {
    return;
  }
  for (const auto& [name, inner] : value.items()) {
    const std::string plain = value.is_object() ? plain_name(name) : std::string();
    const double unit = unit_of_wait(plain);
    if (plain == "input") {
      continue;  // what the caller sent
    }
    if (unit > 0) {
      read_wait(inner, unit, error);
    } else if (names_a_reset(plain) && !error.resets_at) {
      error.resets_at = moment_of(inner);
    }
    read_times(inner, error, depth + 1);
  }
}

void read_members(const Json& object, ServerError& error) {
  const auto set = [&](std::string& to, const char* name) {
    if (to.empty()) {
      to = one_line(text_at(object, name));
    }
  };
  set(error.code, "code");
  set(error.type, "type");
  set(error.param, "param");
  for (const char* name : {"message", "msg", "error_msg", "detail"}) {
    set(error.message, name);
  }
  for (const char* name : {"request_id", "requestId"}) {
    set(error.request_id, name);
  }
  for (const char* name : {"code", "status"}) {  // Google's and OpenRouter's
    const auto number = number_in(member(object, name));
    if (number && *number >= 100 && *number < 600 && error.status == 0) {
      error.status = static_cast<int32_t>(*number);
    }
  }
  if (error.code.empty()) {
    error.code = one_line(text_at(object, "status"));  // Google's RESOURCE_EXHAUSTED
  }
}

ServerError from_object(const Json& object) {
  ServerError error;
  const Json& inner = member(object, "error");
  if (inner.is_object()) {
    read_members(inner, error);
  } else if (inner.is_string()) {
    // A string may be a code ("upstream_rate_limited") or a sentence; "message" then says more.
    const std::string text = one_line(inner.get_ref<const std::string&>());
    (text.find(' ') == std::string::npos ? error.code : error.message) = text;
    const std::string more = one_line(text_at(object, "message"));
    if (!more.empty() && more != error.message) {
      error.message = error.message.empty() ? more : one_line(error.message + ": " + more);
    }
  }
  const std::string type = error.type;
  read_members(object, error);
  if (inner.is_object() && error.type == "error") {
    error.type = type;  // the outer "type" of Anthropic's shape says nothing
  }
  read_times(object, error);
  return error;
}

// What only the words say of times.
void read_words(ServerError& error) {
  if (!error.retry_after_ms) {
    error.retry_after_ms = wait_in_words(error.message);
  }
  if (!error.resets_at) {
    error.resets_at = moment_in_words(error.message);
  }
}

// What a page calls itself; empty: nothing.
std::string title_of(std::string_view page) {
  const std::string head = lower(page.substr(0, 4096));
  const size_t open = head.find("<title");
  const size_t begin = open == std::string::npos ? open : head.find('>', open);
  const size_t end = begin == std::string::npos ? begin : head.find('<', begin);
  return end == std::string::npos ? "" : one_line(page.substr(begin + 1, end - begin - 1));
}

}  // namespace

ServerError read_error_body(std::string_view body) {
  Json value = parse_json(body);
  if (value.is_array() && !value.empty()) {
    value = Json(value.front());  // Google's: a list of one
  }
  ServerError error;
  if (value.is_object()) {
    error = from_object(value);
  }
  if (!error.message.empty() || !error.code.empty()) {
    read_words(error);
    return error;
  }
  const std::string line = one_line(body);
  if (line.starts_with('<')) {
    const std::string title = title_of(body);
    error.message = title.empty() ? "a page of HTML without a title" : title;
  } else {
    error.message = line;
    read_words(error);
  }
  return error;
}

std::optional<ServerError> error_within(const Json& value) {
  if (!value.is_object()) {
    return {};
  }
  const Json& error = member(value, "error");
  const bool said = (error.is_object() && !error.empty()) ||
                    (error.is_string() && !error.get_ref<const std::string&>().empty());
  // The last is vLLM's, where nothing but a whole error stands.
  if (said || text_at(value, "type") == "error" || text_at(value, "object") == "error") {
    ServerError found = from_object(value);
    read_words(found);
    return found;
  }
  return {};
}

}  // namespace tern
