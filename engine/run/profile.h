#pragma once
// Where the time of a pass goes: `tern bench` asks, nobody else pays for it.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tern {

enum class PassPart : uint8_t {
  kProjections,  // q, k, v and o
  kFeedForward,  // gate, up and down
  kAttention,
  kHead,
  kRest,  // norms, quantisation, RoPE, activations, the embedding
};
inline constexpr size_t kPassParts = 5;

// Seconds of each part, added up over passes. The thread that runs the passes keeps it.
class PassProfile {
 public:
  void clear() { seconds_ = {}; }
  double seconds(PassPart part) const { return seconds_[static_cast<size_t>(part)]; }

  // From here on time counts.
  void start() { last_ = Clock::now(); }
  // What went by since start() or the last lap() belongs to `part`.
  void lap(PassPart part) {
    const Clock::time_point now = Clock::now();
    seconds_[static_cast<size_t>(part)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::array<double, kPassParts> seconds_{};
  Clock::time_point last_;
};

}  // namespace tern
