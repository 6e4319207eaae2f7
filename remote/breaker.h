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

struct BreakerAnswer {
  bool ask = true;
  int64_t again_at = 0;  // else: when it may be asked, Unix time in ms
};

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
