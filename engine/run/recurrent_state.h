#pragma once
// What the gated delta-net layers of a conversation remember: no keys and values of every position, but one state that each
// token changes for good. Going back to an earlier position takes a state of that time; a few are kept.

#include <array>
#include <cstdint>

#include "engine/base/buffer.h"
#include "engine/model/config.h"

namespace tern {

// A pass reads the state that the one before it left and writes another, so that the state before the last pass is always
// there: a cancelled pass, or a last pass of which only the beginning counts, costs no copy. A third state is kept on demand.
// Where none of them reaches back far enough the state is computed from the first position again.
class RecurrentState {
 public:
  RecurrentState() = default;  // of a model without such layers
  explicit RecurrentState(const ModelConfig& config);
  static size_t bytes(const ModelConfig& config);

  bool exists() const { return layer_floats_ > 0; }
  // How many positions the state stands for.
  int32_t position() const { return states_[live_].position; }

  // One layer's part (`slot` counts the recurrent layers), as it was before the running pass and as the pass leaves it:
  // value_heads matrices of state x state, then the last conv - 1 rows that went into the convolution.
  const float* before(int32_t slot) const { return states_[live_].values.data() + at(slot); }
  float* after(int32_t slot) { return states_[other()].values.data() + at(slot); }

  // A pass begins to write. What it writes counts only when commit() says so.
  void begin() { states_[other()].position = kNone; }
  void commit(int32_t position);
  // Goes back to the latest state of `length` positions or fewer, and returns how many it has: what lies between is to be
  // computed again. States of more positions than `length` are forgotten.
  int32_t rewind(int32_t length);
  // Keeps the present state for rewind(), in place of the one kept before.
  void keep();

 private:
  static constexpr int32_t kNone = -1;
  static constexpr size_t kKept = 2;

  struct State {
    AlignedArray<float> values;
    int32_t position = kNone;
  };

  size_t other() const { return 1 - live_; }
  size_t at(int32_t slot) const { return static_cast<size_t>(slot) * layer_floats_; }

  std::array<State, 3> states_;  // the live one and the one before it, in turns; the kept one
  size_t live_ = 0;
  size_t layer_floats_ = 0;
};

}  // namespace tern
