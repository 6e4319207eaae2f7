#pragma once
// Orthonormal Hadamard transforms of activations, for models whose weights were rotated by them before they were quantised.

#include <cstdint>

#include "engine/model/rotation.h"

namespace tern {

// In place: each run of `block` (a power of two) of the `n` values, a multiple of it, becomes H x / sqrt(block), with H of
// Sylvester's order: H(i, j) = -1 to the number of ones in i & j. Its own inverse.
void walsh_hadamard(float* x, int64_t n, int64_t block);

// x = H (signs x), and back; nothing if the rotation has no block. `scratch`: n floats, used by rotations with a matrix alone, which
// are not turned back.
void rotate(const Rotation& rotation, float* x, int32_t n, float* scratch);
void rotate_back(const Rotation& rotation, float* x, int32_t n);

}  // namespace tern
