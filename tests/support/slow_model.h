#pragma once
// The forward pass of every architecture once more, in plain double-precision loops straight from the tensors of a file: what
// the runtime is tested against. It shares with the runtime the reading of the container and the decoding of single weights
// (both tested on their own), and nothing else. Slow on purpose.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern::testing {

// How keys and values are kept: as the runtime does, or without loss.
enum class SlowCache : uint8_t { kHalf, kExact };

// tokens x vocab logits. Inputs of ternary matrices are rounded to int8, as the runtime promises to do. Throws
// std::runtime_error if the file lacks a key or tensor.
std::vector<double> slow_logits(const TensorFile& file, std::span<const int32_t> tokens,
                                SlowCache cache = SlowCache::kHalf);

}  // namespace tern::testing
