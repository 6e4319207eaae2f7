#pragma once
// The gated delta rule ("Gated Delta Networks", arXiv 2412.06464) as Qwen3.5 computes it: attention whose memory is a matrix a
// head, which forgets a little with each token and is corrected by what the token's key finds in it.

#include <cstdint>
#include <span>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "engine/run/compute.h"
#include "engine/run/recurrent_state.h"

namespace tern {

struct DeltaNetWeights {
  Linear qkv;                   // queries, keys, values: channels x width
  Linear gate;                  // of the output: values x width
  Linear alpha, beta;           // how much is forgotten, and corrected: value_heads x width
  Linear out;                   // width x values
  std::span<const float> conv;  // channels x conv, the weight of the token itself last
  std::span<const float> decay, time_bias;  // value_heads
  std::span<const float> norm;              // state
};

// What a pass of up to `batch` tokens through one such layer needs.
struct DeltaNetMemory {
  DeltaNetMemory() = default;
  DeltaNetMemory(const ModelConfig& config, int32_t batch);
  static size_t bytes(const ModelConfig& config, int64_t batch);

  AlignedArray<float> qkv;          // batch x channels
  AlignedArray<float> gate;         // batch x values
  AlignedArray<float> alpha, beta;  // batch x value_heads
  AlignedArray<float> out;          // batch x values
  AlignedArray<float> ones;         // state
};

// `memory` holds the products with qkv, gate, alpha and beta of `tokens` tokens; afterwards memory.out holds what weights.out
// multiplies. Reads and writes the slot's part of `state`. Tokens are taken one after another, whatever came in one pass: a
// token's bits depend neither on its batch nor on threads.
void delta_net(const ModelConfig& config, const Compute& compute, const DeltaNetWeights& weights,
               DeltaNetMemory& memory, RecurrentState& state, int32_t slot, int32_t tokens);

}  // namespace tern
