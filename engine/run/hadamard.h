#pragma once
// Orthonormal Hadamard transforms of activations, for models whose weights were rotated by them before they were quantised.

#include <cstdint>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/base/result.h"
#include "engine/model/rotation.h"

namespace tern {

// In place: each run of `block` (a power of two) of the `n` values, a multiple of it, becomes H x / sqrt(block), with H of
// Sylvester's order: H(i, j) = -1 to the number of ones in i & j. Its own inverse.
void walsh_hadamard(float* x, int64_t n, int64_t block);

// x = H (signs x), and back: x = signs (H x); nothing if the rotation has no block.
void rotate(const Rotation& rotation, float* x, int32_t n);
void rotate_back(const Rotation& rotation, float* x, int32_t n);

// The transform of vectors of one size: (K (x) H) / sqrt(size), with H as above and K a Hadamard matrix of an order that is no power
// of two, where the size is none. The matrices K are those of OneCompression, which takes them from Sloane's library.
class HadamardTransform {
 public:
  HadamardTransform() = default;
  // Errors: a size for which OneCompression has no matrix.
  static Result<HadamardTransform> create(int32_t size);

  int32_t size() const { return size_; }
  // x = transform of x. `scratch`: size() floats.
  void apply(float* x, float* scratch) const;

 private:
  int32_t size_ = 0;
  int32_t order_ = 1;          // of K
  std::vector<float> matrix_;  // K, order x order; empty for 1
};

}  // namespace tern
