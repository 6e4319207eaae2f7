#pragma once
// How long servers ask to be left alone, in every place and spelling in which they say it.

#include <cstdint>
#include <optional>
#include <string_view>

#include "remote/api_error.h"

namespace tern {

// "33s", "1m2.5s", "1 minute and 2 seconds", "500 ms", "33 秒" at the beginning of `text`, in
// milliseconds. A number without a unit counts as so many times `bare_unit_ms`; 0: it is not taken.
std::optional<double> duration_at(std::string_view text, double bare_unit_ms);

// The wait that a sentence asks for ("Please retry after 33 seconds", "try again in 1m2.5s"), in
// milliseconds.
std::optional<int64_t> wait_in_words(std::string_view sentence);

// The moment that a sentence names ("resets at 2026-01-31 12:00:00 UTC"), as Unix time in ms.
std::optional<int64_t> moment_in_words(std::string_view sentence);

// Milliseconds that lie ahead, rounded up and at most 30 years; none: not so.
std::optional<int64_t> wait_ahead(double ms);

// How long the server asks to wait: retry-after-ms, else Retry-After (seconds, a duration or a
// date), else what the body says, else, for a rate limit, the headers that say when it is lifted.
// None, or nothing that lies ahead: not asked.
std::optional<int64_t> asked_wait_ms(const HttpResponse& head, const ServerError& said,
                                     ApiErrorClass kind, int64_t now_unix_ms);

}  // namespace tern
