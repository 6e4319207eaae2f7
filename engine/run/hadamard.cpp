#include "engine/run/hadamard.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "engine/base/check.h"

namespace tern {
namespace {

// x[0..half) and x[half..2 half) become their sum and their difference.
void butterfly(float* x, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a + b;
    x[i + half] = a - b;
  }
}

// Two butterflies in one walk: of four quarters.
void double_butterfly(float* x, int64_t quarter) {
  for (int64_t i = 0; i < quarter; ++i) {
    const float a = x[i] + x[i + quarter];
    const float b = x[i] - x[i + quarter];
    const float c = x[i + 2 * quarter] + x[i + 3 * quarter];
    const float d = x[i + 2 * quarter] - x[i + 3 * quarter];
    x[i] = a + c;
    x[i + quarter] = b + d;
    x[i + 2 * quarter] = a - c;
    x[i + 3 * quarter] = b - d;
  }
}

void scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] *= factor;
  }
}

// Each run of `block` values, without the factor.
void unscaled(float* x, int64_t n, int64_t block) {
  int64_t width = 1;
  for (; 4 * width <= block; width *= 4) {
    for (int64_t at = 0; at < n; at += 4 * width) {
      double_butterfly(x + at, width);
    }
  }
  if (2 * width <= block) {
    for (int64_t at = 0; at < n; at += 2 * width) {
      butterfly(x + at, width);
    }
  }
}

}  // namespace

void walsh_hadamard(float* x, int64_t n, int64_t block) {
  unscaled(x, n, block);
  scale(x, n, 1.0F / std::sqrt(static_cast<float>(block)));
}

namespace {

void change_signs(std::span<const float> signs, float* x) {
  for (size_t i = 0; i < signs.size(); ++i) {
    x[i] *= signs[i];
  }
}

// Blocks of x become sums of blocks, each with the signs of a row of the matrix.
void multiply_blocks(const Rotation& rotation, float* x, int32_t n, float* scratch) {
  const int64_t width = rotation.block;
  const int64_t order = n / width;
  std::copy_n(x, n, scratch);
  for (int64_t i = 0; i < order; ++i) {
    float* out = x + i * width;
    std::fill_n(out, width, 0.0F);
    for (int64_t j = 0; j < order; ++j) {
      const float sign = rotation.matrix[static_cast<size_t>(i * order + j)];
      const float* in = scratch + j * width;
      for (int64_t k = 0; k < width; ++k) {
        out[k] += sign * in[k];
      }
    }
  }
}

}  // namespace

void rotate(const Rotation& rotation, float* x, int32_t n, float* scratch) {
  if (rotation.block == 0) {
    return;
  }
  change_signs(rotation.signs, x);
  if (rotation.matrix.empty()) {
    walsh_hadamard(x, n, rotation.block);
    return;
  }
  unscaled(x, n, rotation.block);
  multiply_blocks(rotation, x, n, scratch);
  scale(x, n, 1.0F / std::sqrt(static_cast<float>(n)));
}

void rotate_back(const Rotation& rotation, float* x, int32_t n) {
  TERN_CHECK(rotation.matrix.empty(), "only Sylvester's matrices are their own inverse");
  if (rotation.block > 0) {
    walsh_hadamard(x, n, rotation.block);
    change_signs(rotation.signs, x);
  }
}

}  // namespace tern
