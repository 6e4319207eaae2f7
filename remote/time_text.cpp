#include "remote/time_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <vector>

namespace tern {
namespace {

constexpr std::string_view kDigits = "0123456789";

// The number that the whole of `text` spells, digits alone; none: it is something else.
std::optional<int> digits_in(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool digits = !text.empty() && text.find_first_not_of(kDigits) == std::string_view::npos;
  return digits && error == std::errc() ? std::optional(number) : std::nullopt;
}

struct Moment {
  int year = 0;
  int month = 0;
  int day = 0;
  int second = -1;  // of the day
};

std::optional<int64_t> unix_ms_of(const Moment& moment) {
  using namespace std::chrono;
  const year_month_day date{year(moment.year), month(static_cast<unsigned>(moment.month)),
                            day(static_cast<unsigned>(moment.day))};
  if (!date.ok() || moment.year < 1970 || moment.year > 9999 || moment.second < 0) {
    return {};
  }
  return (int64_t{sys_days(date).time_since_epoch().count()} * 86'400 + moment.second) * 1000;
}

// "12:34:56" as seconds of the day; -1: it is no time. A leap second counts as the one before it.
int second_of(std::string_view text) {
  if (text.size() != 8 || text[2] != ':' || text[5] != ':') {
    return -1;
  }
  const auto hour = digits_in(text.substr(0, 2));
  const auto minute = digits_in(text.substr(3, 2));
  const auto second = digits_in(text.substr(6, 2));
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 60) {
    return -1;
  }
  return (*hour * 60 + *minute) * 60 + std::min(*second, 59);
}

int month_of(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto found = std::ranges::find(kMonths, text);
  return found == kMonths.end() ? 0 : static_cast<int>(found - kMonths.begin()) + 1;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kBetween = " ,-";
  for (size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(kBetween, end);
  }
  return words;
}

}  // namespace

std::optional<int64_t> parse_http_date(std::string_view text) {
  // "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"
  const std::vector<std::string_view> words = words_of(text);
  if (words.size() < 5 || words.size() > 6 || (words.size() == 6 && words[5] != "GMT")) {
    return {};
  }
  const bool asctime = words.size() == 5;
  const auto year = digits_in(words[asctime ? 4 : 3]);
  const auto day = digits_in(words[asctime ? 2 : 1]);
  if (!year || !day) {
    return {};
  }
  Moment moment;
  // Two digits: every server that is still running means this century.
  moment.year = *year < 100 ? 2000 + *year : *year;
  moment.month = month_of(words[asctime ? 1 : 2]);
  moment.day = *day;
  moment.second = second_of(words[asctime ? 3 : 4]);
  return unix_ms_of(moment);
}

std::optional<int64_t> parse_iso_time(std::string_view text) {
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' ||
      (text[10] != 'T' && text[10] != ' ')) {
    return {};
  }
  const auto year = digits_in(text.substr(0, 4));
  const auto month = digits_in(text.substr(5, 2));
  const auto day = digits_in(text.substr(8, 2));
  if (!year || !month || !day) {
    return {};
  }
  const auto whole = unix_ms_of({*year, *month, *day, second_of(text.substr(11, 8))});
  std::string_view rest = text.substr(19);
  int64_t fraction = 0;
  if (rest.starts_with('.')) {
    const std::string_view digits = rest.substr(1, rest.find_first_not_of(kDigits, 1) - 1);
    const std::string three = (std::string(digits) + "00").substr(0, 3);
    fraction = digits_in(three).value_or(0);
    rest.remove_prefix(1 + digits.size());
  }
  if (!whole || rest == "Z" || rest == "z") {
    return whole ? std::optional(*whole + fraction) : std::nullopt;
  }
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':') {
    return {};
  }
  const auto hours = digits_in(rest.substr(1, 2));
  const auto minutes = digits_in(rest.substr(4, 2));
  if (!hours || !minutes || *hours > 23 || *minutes > 59) {
    return {};
  }
  const int64_t offset = (int64_t{*hours} * 60 + *minutes) * 60'000;
  return *whole + fraction - (rest[0] == '+' ? offset : -offset);
}

std::string utc_text(int64_t unix_ms) {
  using namespace std::chrono;
  const sys_time<milliseconds> time{milliseconds(unix_ms)};
  const auto days = floor<std::chrono::days>(time);
  const year_month_day date(days);
  const auto minutes = duration_cast<std::chrono::minutes>(time - days).count();
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u %02d:%02d UTC", int{date.year()},
                unsigned{date.month()}, unsigned{date.day()}, static_cast<int>(minutes / 60),
                static_cast<int>(minutes % 60));
  return text;
}

std::string duration_text(int64_t ms) {
  constexpr int64_t kMinute = 60'000;
  constexpr int64_t kHour = 60 * kMinute;
  if (ms >= 2 * kHour) {
    return std::to_string((ms + kHour - 1) / kHour) + " h";
  }
  if (ms >= 2 * kMinute) {
    return std::to_string((ms + kMinute - 1) / kMinute) + " min";
  }
  if (ms >= 10'000 || ms % 1000 == 0) {
    return std::to_string((ms + 999) / 1000) + " s";
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(ms) / 1000);
  return text;
}

}  // namespace tern
