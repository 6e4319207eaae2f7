#pragma once
// Points in time as servers write them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tern {

// Unix time in ms of a date of HTTP, in any of its three forms (RFC 9110, 5.6.7); none: it is no date.
std::optional<int64_t> parse_http_date(std::string_view text);

// Unix time in ms of "2026-01-31T12:00:00.5Z", with or without fraction, with Z or an offset as +01:00; none: it is no such time.
std::optional<int64_t> parse_iso_time(std::string_view text);

// "2026-01-31 12:00 UTC".
std::string utc_text(int64_t unix_ms);

// "0.5 s", "12 s", "3 min", "2 h".
std::string duration_text(int64_t ms);

}  // namespace tern
