#pragma once
// Matrices that are sums of products of sign matrices (engine/io/onecomp.h).

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/layout.h"

namespace tern {

// v = sum over k of out_k * (signs (in_k * x)), with vectors in_k and out_k for each envelope k, one after another.
struct FactorStage {
  TernaryMatrix signs;
  const TernaryKernel* kernel = nullptr;  // the one that reads the signs
  std::span<const float> in, out;
  int32_t envelopes = 1;
};

// y = the sum over paths of what their stages, one after another, make of x.
struct FactoredMatrix {
  std::vector<std::vector<FactorStage>> paths;

  // Bytes that one product with one token reads.
  size_t bytes() const {
    size_t sum = 0;
    for (const std::vector<FactorStage>& stages : paths) {
      for (const FactorStage& stage : stages) {
        sum += packed_bytes(stage.signs.layout, stage.signs.rows, stage.signs.cols) +
               (stage.in.size() + stage.out.size()) * sizeof(float);
      }
    }
    return sum;
  }
};

}  // namespace tern
