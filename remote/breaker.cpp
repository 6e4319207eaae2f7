#include "remote/breaker.h"

#include <algorithm>
#include <utility>

namespace tern {
namespace {

void remember(BreakerState& state, int64_t now, bool failed) {
  std::erase_if(state.recent,
                [now](const BreakerCall& call) { return call.at <= now - kBreakerWindow; });
  if (state.recent.size() >= kBreakerMostCalls) {
    state.recent.erase(state.recent.begin());
  }
  state.recent.push_back({now, failed});
}

bool most_failed(const BreakerState& state) {
  const auto failed = std::ranges::count(state.recent, true, &BreakerCall::failed);
  return state.recent.size() >= kBreakerLeastCalls &&
         static_cast<size_t>(failed) * 2 > state.recent.size();
}

}  // namespace

BreakerState seen_at(BreakerState state, int64_t now) {
  const int64_t latest = now + kClockTolerance;
  const bool ahead =
      state.open_until > latest + kBreakerMostPause || state.probe_since > latest ||
      std::ranges::any_of(state.recent, [&](const BreakerCall& call) { return call.at > latest; });
  return ahead ? BreakerState() : state;
}

BreakerAnswer may_ask(BreakerState& state, int64_t now) {
  state = seen_at(std::move(state), now);
  if (state.open_until == 0) {
    return {};
  }
  if (now < state.open_until) {
    return {false, state.open_until};
  }
  if (state.probe_since != 0 && now - state.probe_since < kBreakerWindow) {
    return {false, state.probe_since + kBreakerWindow};
  }
  state.probe_since = now;
  return {};
}

void note_success(BreakerState& state, int64_t now) {
  // A call that began before the breaker opened proves nothing about now; only the probe closes it.
  if (state.open_until != 0 && state.probe_since == 0) {
    return;
  }
  if (state.open_until != 0) {
    state = {};
  }
  state.failures = 0;
  remember(state, now, false);
}

void note_failure(BreakerState& state, int64_t now, std::optional<int64_t> pause, bool at_once) {
  state = seen_at(std::move(state), now);
  ++state.failures;
  remember(state, now, true);
  const bool probe_failed = state.probe_since != 0;
  state.probe_since = 0;
  const bool open = state.open_until != 0 || probe_failed || state.failures >= kBreakerFailures ||
                    most_failed(state) || (at_once && pause && *pause <= kMostBelievedPause);
  if (open) {
    const bool believed = pause && *pause <= kMostBelievedPause;
    const int64_t rest = believed ? std::min(*pause, kBreakerMostPause) : kBreakerPause;
    state.open_until = std::max(state.open_until, now + rest);
  }
}

void note_neither(BreakerState& state) {
  state.probe_since = 0;
}

}  // namespace tern
