#pragma once
// Mixture of experts: a router sends each token through a few of many small feed-forward parts.

#include <cstdint>
#include <span>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "engine/model/expert_matrix.h"
#include "engine/run/compute.h"
#include "engine/run/linear.h"

namespace tern {

struct ExpertWeights {
  Linear router;  // experts x width
  const ExpertMatrix* gate = nullptr;
  const ExpertMatrix* up = nullptr;
  const ExpertMatrix* down = nullptr;
};

// What a pass of up to `batch` tokens through one such layer needs.
struct ExpertMemory {
  ExpertMemory() = default;
  ExpertMemory(const ModelConfig& config, int32_t batch);
  static size_t bytes(const ModelConfig& config, int64_t batch);

  AlignedArray<float> scores;    // batch x experts: what the router says
  AlignedArray<int32_t> chosen;  // batch x used
  AlignedArray<float> shares;    // batch x used: how much each counts
  AlignedArray<int32_t> order;   // choices (token * used + k) by expert
  AlignedArray<int32_t> first;   // experts + 1: where each expert's choices begin in `order`
  AlignedArray<float> x, out;    // batch x width: the tokens of one expert
  AlignedArray<float> gate, up;  // batch x ffn
};

// out = sum over the chosen experts of share * Wdown(silu(Wgate n) * Wup n), for the rows n of `input` and the scores in
// `memory`. The experts are walked in their order, each with all its tokens: a token's bits depend neither on its batch nor on
// threads.
void run_experts(const ModelConfig& config, const Compute& compute, const ExpertWeights& weights,
                 ExpertMemory& memory, QuantizedRows& quantized, ThreadScratch& scratch,
                 const float* input, float* out, int32_t tokens);

}  // namespace tern
