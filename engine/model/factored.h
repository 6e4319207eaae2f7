#pragma once
// Matrices that are sums of products of sign matrices (engine/io/compressed_layers.h).

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/io/tensor_file.h"
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
  float norm_eps = 0;  // if positive, y is normalised: (y - mean) / sqrt(variance + eps)

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

// What products with the factored matrices of a model need at most. Products of one input are made together; each has a place among
// them, in the order of the decoder.
struct FactorShape {
  static constexpr size_t kPlaces = 4;

  std::array<int32_t, kPlaces> widest{};  // rows or columns of a stage, by place
  int32_t envelopes = 0;                  // 0: there are no factored matrices
};
FactorShape factor_shape(const TensorFile& file);

}  // namespace tern
