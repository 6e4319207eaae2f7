#pragma once
// Whether a provider's model is worth asking, from how the latest calls went. Pure functions over a state that the ledger keeps, so
// that one process learns from another.

#include <cstdint>
#include <optional>
#include <vector>

namespace tern {

struct BreakerCall {
  int64_t at = 0;  // Unix time in ms
  bool failed = false;
};

struct BreakerState {
  int32_t failures = 0;     // in a row
  int64_t open_until = 0;   // Unix time in ms; 0: closed
  int64_t probe_since = 0;  // when the one call was let through that decides; 0: none is on its way
  std::vector<BreakerCall> recent;  // of the last minute, oldest first
};

inline constexpr int32_t kBreakerFailures = 5;     // in a row open it,
inline constexpr size_t kBreakerLeastCalls = 5;    // as does over half of at least so many
inline constexpr int64_t kBreakerWindow = 60'000;  // within so many ms,
inline constexpr int64_t kBreakerPause = 30'000;   // for so many ms
inline constexpr size_t kBreakerMostCalls = 100;   // remembered
// No server is left alone for longer, whatever it asks; and one that asks for more than a day, as
// with a date of 2099, is not believed at all.
inline constexpr int64_t kBreakerMostPause = 3'600'000;
inline constexpr int64_t kMostBelievedPause = 24 * int64_t{3'600'000};
// What is noted lies so far ahead of now at most; beyond that it was noted by a clock that has been
// corrected since.
inline constexpr int64_t kClockTolerance = 5'000;

struct BreakerAnswer {
  bool ask = true;
  int64_t again_at = 0;  // else: when it may be asked, Unix time in ms
};

// The state as it counts now: closed, if it was noted under a clock that ran ahead.
BreakerState seen_at(BreakerState state, int64_t now);

// Whether a call may be made now. Once the pause is over one call is let through as a probe, and no other until it has ended (or
// is given up for lost after a minute).
BreakerAnswer may_ask(BreakerState& state, int64_t now);
void note_success(BreakerState& state, int64_t now);
// `pause`: how long the server asks to be left alone, in ms. `at_once`: a pause that was asked for begins with this failure
// already, however few there were.
void note_failure(BreakerState& state, int64_t now, std::optional<int64_t> pause, bool at_once);
// A call ended in a way that says nothing about the server.
void note_neither(BreakerState& state);

}  // namespace tern
