// From the body of a refusal to a ServerError.

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/base/ascii.h"
#include "engine/base/json_text.h"
#include "remote/api_error.h"
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

void read_times(const Json& object, ServerError& error) {
  constexpr std::pair<const char*, double> kWaits[] = {
      {"retry_after_ms", 1},         {"retryAfterMs", 1},  {"retry_after", 1000},
      {"retryAfterSeconds", 1000},   {"retryAfter", 1000}, {"retry_after_seconds", 1000},
      {"remainingMinutes", 60'000.0}};
  constexpr double kMost = 1e12;  // milliseconds: 30 years
  for (const auto& [name, unit] : kWaits) {
    const auto number = number_in(member(object, name));
    if (number && *number > 0 && !error.retry_after_ms) {
      error.retry_after_ms = static_cast<int64_t>(std::ceil(std::min(*number * unit, kMost)));
    }
  }
  for (const char* name : {"resetAt", "reset_at", "resetsAt", "resets_at"}) {
    if (!error.resets_at) {
      error.resets_at = moment_of(member(object, name));
    }
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
  read_times(object, error);
}

ServerError from_object(const Json& object) {
  ServerError error;
  const Json& inner = member(object, "error");
  if (inner.is_object()) {
    read_members(inner, error);
    const Json& more = member(inner, "metadata");
    if (more.is_object()) {
      read_times(more, error);
    }
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
  return error;
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
    return error;
  }
  const std::string line = one_line(body);
  if (line.starts_with('<')) {
    const std::string title = title_of(body);
    error.message = title.empty() ? "a page of HTML without a title" : title;
  } else {
    error.message = line;
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
  if (said || text_at(value, "type") == "error") {
    return from_object(value);
  }
  // vLLM's, where nothing but a whole error stands.
  if (text_at(value, "object") == "error") {
    return from_object(value);
  }
  return {};
}

}  // namespace tern
