#include "remote/asked_wait.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/base/ascii.h"
#include "engine/base/number.h"
#include "remote/time_text.h"

namespace tern {
namespace {

constexpr double kSecond = 1e3;
constexpr double kMinute = 60e3;
constexpr double kHour = 3600e3;
constexpr double kDay = 86'400e3;

struct Unit {
  std::string_view name;
  double ms;
};

// A longer name stands before those that it begins with.
constexpr Unit kUnits[] = {
    {"milliseconds", 1}, {"millisecond", 1},   {"msecs", 1},         {"msec", 1},
    {"ms", 1},           {"毫秒", 1},          {"seconds", kSecond}, {"second", kSecond},
    {"secs", kSecond},   {"sec", kSecond},     {"s", kSecond},       {"秒钟", kSecond},
    {"秒", kSecond},     {"minutes", kMinute}, {"minute", kMinute},  {"mins", kMinute},
    {"min", kMinute},    {"m", kMinute},       {"分钟", kMinute},    {"分", kMinute},
    {"hours", kHour},    {"hour", kHour},      {"hrs", kHour},       {"hr", kHour},
    {"h", kHour},        {"小时", kHour},      {"days", kDay},       {"day", kDay},
    {"d", kDay},         {"天", kDay},
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void skip(std::string_view& text, std::string_view characters) {
  text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
}

bool take(std::string_view& text, std::string_view word) {
  const bool there = text.starts_with(word);
  if (there) {
    text.remove_prefix(word.size());
  }
  return there;
}

// Digits, with a fraction if digits follow the point: the point at a sentence's end is none of it.
std::optional<double> take_number(std::string_view& text) {
  const auto digits = [&](size_t from) {
    return std::min(text.find_first_not_of("0123456789", from), text.size());
  };
  size_t end = digits(0);
  if (end == 0) {
    return {};
  }
  if (end + 1 < text.size() && text[end] == '.' && digits(end + 1) > end + 1) {
    end = digits(end + 1);
  }
  double number = 0;
  std::from_chars(text.data(), text.data() + end, number);
  text.remove_prefix(end);
  return number;
}

std::optional<double> take_unit(std::string_view& text) {
  std::string_view rest = text;
  skip(rest, " ");
  for (const Unit& unit : kUnits) {
    if (!rest.starts_with(unit.name)) {
      continue;
    }
    const std::string_view after = rest.substr(unit.name.size());
    if (after.empty() || !is_letter(after.front()) || !is_letter(unit.name.front())) {
      text = after;
      return unit.ms;
    }
  }
  return {};
}

// What is written between a phrase and its number, as in "retry after: about 30 s".
void skip_filling(std::string_view& text) {
  constexpr std::string_view kFilling[] = {"approximately", "about", "around", "at least",
                                           "another",       "for",   "up to",  "~"};
  for (bool more = true; more;) {
    skip(text, " :=\"'`(");
    more = std::ranges::any_of(kFilling, [&](std::string_view word) { return take(text, word); });
  }
}

// "2026-01-31 12:00:00 UTC" or with a T and a zone: as parse_iso_time() reads it. Without a zone
// nobody knows which is meant.
std::optional<int64_t> moment_at(std::string_view text) {
  constexpr size_t kSeconds = 19;
  if (text.size() < kSeconds) {
    return {};
  }
  const std::string_view rest = text.substr(kSeconds);
  if (rest.starts_with(" utc") || rest.starts_with(" gmt")) {
    return parse_iso_time(std::string(text.substr(0, kSeconds)) + "Z");
  }
  const size_t end = std::min(text.find_first_of(" ,;)\"'"), text.size());
  std::string word(text.substr(0, std::max(end, kSeconds)));
  std::ranges::replace(word, 't', 'T');
  std::ranges::replace(word, 'z', 'Z');
  while (word.ends_with('.')) {
    word.pop_back();
  }
  return parse_iso_time(word);
}

struct WaitPhrase {
  std::string_view words;
  double bare_unit_ms;  // of a number that has none; 0: such a number is something else
};

constexpr WaitPhrase kPhrases[] = {
    {"retry after", kSecond},
    {"retry-after", kSecond},
    {"retry_after", kSecond},
    {"retryafter", kSecond},
    {"retry in", kSecond},
    {"retry your request in", kSecond},
    {"retry your request after", kSecond},
    {"retrydelay", kSecond},
    {"retry delay", kSecond},
    {"try again in", kSecond},
    {"try again after", kSecond},
    {"again in", 0},
    {"again after", 0},
    {"wait", 0},
    {"available in", 0},
    {"available again in", 0},
    {"resets in", 0},
    {"reset in", 0},
    {"resets after", 0},
    {"reset after", 0},
    {"cooldown", 0},
    {"expires in", 0},
    {"请等待", 0},
    {"等待", 0},
    {"请在", 0},
    {"请于", 0},
    {"将在", 0},
};

// "33 秒后重试": the number stands before the words.
std::optional<double> before_later(std::string_view sentence) {
  for (const std::string_view word : {"秒后", "秒钟后", "分钟后", "小时后", "seconds later"}) {
    const size_t at = sentence.find(word);
    if (at == std::string_view::npos) {
      continue;
    }
    size_t begin = at;
    while (begin > 0 && sentence[begin - 1] == ' ') {
      --begin;
    }
    while (begin > 0 &&
           (std::string_view("0123456789.").find(sentence[begin - 1]) != std::string_view::npos)) {
      --begin;
    }
    if (const auto ms = duration_at(sentence.substr(begin), 0)) {
      return ms;
    }
  }
  return {};
}

std::optional<double> number_at(const HttpResponse& head, std::string_view name) {
  const std::string* text = head.header(name);
  return text == nullptr ? std::nullopt : number_of(*text);
}

std::optional<int64_t> ahead_of(std::optional<int64_t> moment, int64_t now_unix_ms) {
  return moment ? wait_ahead(static_cast<double>(*moment) - static_cast<double>(now_unix_ms))
                : std::nullopt;
}

std::optional<int64_t> moment_of(std::string_view text) {
  const auto date = parse_http_date(text);
  return date ? date : parse_iso_time(text);
}

// The duration that is all of a header's value.
std::optional<double> whole_duration(std::string_view text) {
  const std::string low = lower(text);
  const bool duration = !low.empty() && low.find_first_not_of("0123456789.dhms ") == low.npos &&
                        low.find_first_of("dhms") != low.npos;
  return duration ? duration_at(low, 0) : std::nullopt;
}

struct Named {
  bool said = false;
  std::optional<int64_t> wait;
};

Named in_headers(const HttpResponse& head, int64_t now_unix_ms) {
  for (const char* name : {"retry-after-ms", "x-ms-retry-after-ms"}) {
    if (const auto ms = number_at(head, name)) {
      return {true, wait_ahead(*ms)};
    }
  }
  for (const char* name : {"retry-after", "x-retry-after", "x-ratelimit-retry-after"}) {
    const std::string* text = head.header(name);
    if (text == nullptr) {
      continue;
    }
    if (const auto seconds = number_of(*text)) {
      return {true, wait_ahead(*seconds * kSecond)};
    }
    if (const auto ms = whole_duration(*text)) {
      return {true, wait_ahead(*ms)};
    }
    if (const auto moment = moment_of(*text)) {
      return {true, ahead_of(moment, now_unix_ms)};
    }
  }
  return {};
}

// One header of when a limit is lifted: Unix time in seconds or milliseconds, seconds from now, a
// duration or a date.
std::optional<int64_t> reset_in(const std::string& text, int64_t now_unix_ms) {
  if (const auto number = number_of(text)) {
    const auto now = static_cast<double>(now_unix_ms);
    constexpr double kSecondsOf2001 = 1e9;
    if (*number < kSecondsOf2001) {
      return wait_ahead(*number * kSecond);
    }
    return wait_ahead((*number < kSecondsOf2001 * 1000 ? *number * kSecond : *number) - now);
  }
  if (const auto ms = whole_duration(text)) {
    return wait_ahead(*ms);
  }
  return ahead_of(moment_of(text), now_unix_ms);
}

// The proposed standard's single header: "limit=100, remaining=0, reset=30", or
// "\"default\";r=0;t=30".
std::optional<int64_t> in_ratelimit(const HttpResponse& head) {
  const std::string* text = head.header("ratelimit");
  if (text == nullptr) {
    return {};
  }
  for (const std::string_view name : {"reset=", ";t=", "; t="}) {
    const size_t at = text->find(name);
    if (at != std::string::npos) {
      const auto ms = duration_at(std::string_view(*text).substr(at + name.size()), kSecond);
      return ms ? wait_ahead(*ms) : std::nullopt;
    }
  }
  return {};
}

// Several limits have a header each (requests, tokens): the one that is used up decides, and where
// none says that it is, the one that is lifted first, since the others may have room.
std::optional<int64_t> in_resets(const HttpResponse& head, int64_t now_unix_ms) {
  std::optional<int64_t> used_up;
  std::optional<int64_t> soonest;
  for (const auto& [given, value] : head.headers) {
    const std::string name = lower(given);
    const size_t at = name.find("reset");
    if (at == std::string::npos || name.find("ratelimit") == std::string::npos) {
      continue;
    }
    const std::optional<int64_t> wait = reset_in(value, now_unix_ms);
    if (!wait) {
      continue;
    }
    std::string remaining = name;
    remaining.replace(at, std::string_view("reset").size(), "remaining");
    if (number_at(head, remaining) == 0.0) {
      used_up = std::max(used_up.value_or(0), *wait);
    }
    soonest = std::min(soonest.value_or(*wait), *wait);
  }
  if (used_up || soonest) {
    return used_up ? used_up : soonest;
  }
  return in_ratelimit(head);
}

}  // namespace

std::optional<int64_t> wait_ahead(double ms) {
  // Above this many (30 years) nobody waits, and numbers stay within int64.
  constexpr double kMost = 1e12;
  return ms > 0 ? std::optional(static_cast<int64_t>(std::ceil(std::min(ms, kMost))))
                : std::nullopt;
}

std::optional<double> duration_at(std::string_view text, double bare_unit_ms) {
  skip(text, " ");
  double sum = 0;
  bool any = false;
  for (;;) {
    std::string_view rest = text;
    const std::optional<double> number = take_number(rest);
    if (!number) {
      break;
    }
    const std::optional<double> unit = take_unit(rest);
    if (!unit) {
      if (!any && bare_unit_ms > 0) {
        return *number * bare_unit_ms;
      }
      break;
    }
    sum += *number * *unit;
    any = true;
    text = rest;
    skip(text, " ,");
    if (take(text, "and ")) {
      skip(text, " ");
    }
  }
  return any ? std::optional(sum) : std::nullopt;
}

std::optional<int64_t> wait_in_words(std::string_view sentence) {
  const std::string low = lower(sentence);
  for (const WaitPhrase& phrase : kPhrases) {
    for (size_t at = 0; (at = low.find(phrase.words, at)) != std::string::npos;) {
      at += phrase.words.size();
      std::string_view rest = std::string_view(low).substr(at);
      skip_filling(rest);
      // The year of a date is no number of seconds.
      if (rest.size() > 4 && rest[4] == '-' && moment_at(rest)) {
        continue;
      }
      if (const auto ms = duration_at(rest, phrase.bare_unit_ms)) {
        return wait_ahead(*ms);
      }
    }
  }
  const auto ms = before_later(low);
  return ms ? wait_ahead(*ms) : std::nullopt;
}

std::optional<int64_t> moment_in_words(std::string_view sentence) {
  const std::string low = lower(sentence);
  for (const std::string_view words : {"resets at", "reset at", "available at", "retry after",
                                       "again after", "again at", "until", "将在", "请于"}) {
    const size_t at = low.find(words);
    if (at != std::string::npos) {
      std::string_view rest = std::string_view(low).substr(at + words.size());
      skip_filling(rest);
      if (const auto moment = moment_at(rest)) {
        return moment;
      }
    }
  }
  return {};
}

std::optional<int64_t> asked_wait_ms(const HttpResponse& head, const ServerError& said,
                                     ApiErrorClass kind, int64_t now_unix_ms) {
  if (const Named named = in_headers(head, now_unix_ms); named.said) {
    return named.wait;
  }
  if (said.retry_after_ms && *said.retry_after_ms > 0) {
    return said.retry_after_ms;
  }
  if (const auto wait = ahead_of(said.resets_at, now_unix_ms)) {
    return wait;
  }
  // Answers of other kinds carry them too, and mean nothing by it.
  return kind == ApiErrorClass::kRateLimit ? in_resets(head, now_unix_ms) : std::nullopt;
}

}  // namespace tern
