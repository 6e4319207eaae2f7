#pragma once
// Products of adapters, beside those of the matrices that they change: y += B diag(scale) (A x), in floats from the row as it was
// before any rounding.

#include <cstdint>
#include <span>

#include "engine/run/linear.h"

namespace tern {

// Floats that A x takes for one token, all matrices of a step together.
int64_t lora_width(std::span<const Product> products);

// hidden = diag(scale) A x for each product that has adapters, tokens x rank, one after another.
void lora_project(const Compute& compute, const LinearInput& in, std::span<const Product> products,
                  float* hidden, ThreadScratch& scratch);

// y[t * stride + r] += B(r, :) . hidden(t, :) for r in `rows`. `scratch`: lora_scratch_bytes(...) bytes of this thread's own.
void lora_add(const KernelTable& kernels, const LowRank& lora, const float* hidden, int32_t tokens,
              RowRange rows, float* y, int64_t stride, uint8_t* scratch);

// For up to so many tokens.
size_t lora_scratch_bytes(const KernelTable& kernels, const LowRank& lora, int32_t tokens);

}  // namespace tern
