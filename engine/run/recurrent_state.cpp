#include "engine/run/recurrent_state.h"

#include <algorithm>

namespace tern {
namespace {

size_t floats_of_layer(const DeltaNet& delta) {
  return static_cast<size_t>(delta.value_heads) * static_cast<size_t>(delta.state) *
             static_cast<size_t>(delta.state) +
         static_cast<size_t>(delta.conv - 1) * static_cast<size_t>(delta.channels());
}

}  // namespace

RecurrentState::RecurrentState(const ModelConfig& config) {
  if (config.delta_net.layers == 0) {
    return;
  }
  layer_floats_ = floats_of_layer(config.delta_net);
  for (State& state : states_) {
    // Small pages: a kept state that nobody asks for is never touched.
    state.values = AlignedArray<float>(at(config.delta_net.layers), Pages::kSmall);
  }
  states_[live_].position = 0;
}

size_t RecurrentState::bytes(const ModelConfig& config) {
  const DeltaNet& delta = config.delta_net;
  return delta.layers == 0
             ? 0
             : 3 * sizeof(float) * floats_of_layer(delta) * static_cast<size_t>(delta.layers);
}

void RecurrentState::commit(int32_t position) {
  live_ = other();
  states_[live_].position = position;
}

int32_t RecurrentState::rewind(int32_t length) {
  State& live = states_[live_];
  State& last = states_[other()];
  State& kept = states_[kKept];
  for (State* state : {&last, &kept}) {
    if (state->position > length) {
      state->position = kNone;
    }
  }
  if (live.position > length) {
    if (last.position >= 0 && last.position >= kept.position) {
      live.position = kNone;
      live_ = other();
    } else if (kept.position >= 0) {
      std::ranges::copy(kept.values.span(), live.values.data());
      live.position = kept.position;
    } else {
      std::ranges::fill(live.values.span(), 0.0F);
      live.position = 0;
    }
  }
  return position();
}

void RecurrentState::keep() {
  const State& live = states_[live_];
  std::ranges::copy(live.values.span(), states_[kKept].values.data());
  states_[kKept].position = live.position;
}

}  // namespace tern
