#pragma once
// What the ternary formats share whose rows are blocks of weights: a loop over blocks, an fp16 scale.

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "engine/base/half.h"
#include "engine/io/weight_format.h"

namespace tern::formats {

inline float half_at(const uint8_t* bytes) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return half_to_float(bits);
}

// `kBytes` bytes of `kTrits` base-3 digits each, most significant digit first: digit n of byte m is weight kBytes * n + m.
// A byte is the number scaled to 256ths, rounded up, so that times 3 the next digit appears above the eighth bit.
template <int kBytes, int kTrits>
void unpack_digits(const uint8_t* codes, int8_t* trits) {
  unsigned power = 1;
  for (int n = 0; n < kTrits; ++n, power *= 3) {
    for (int m = 0; m < kBytes; ++m) {
      const auto rest = static_cast<uint8_t>(codes[m] * power);  // the digits above n fall off
      trits[kBytes * n + m] = static_cast<int8_t>(((rest * 3U) >> 8U) - 1);
    }
  }
}

// A block format, by example:
//   struct Tq2_0 {
//     static constexpr int kWeights = 256, kBytes = 66;
//     static bool unpack(const uint8_t* block, int8_t* trits, float* scale);  // false: a code stands for no trit
//   };
template <class Block>
bool unpack_block_rows(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                       int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const int64_t first = first_row * (cols / Block::kWeights);
  const int64_t count = row_count * (cols / Block::kWeights);
  const uint8_t* block = reinterpret_cast<const uint8_t*>(data.data()) + first * Block::kBytes;
  bool good = true;
  for (int64_t i = 0; i < count; ++i) {
    good &= Block::unpack(block + i * Block::kBytes, trits + i * Block::kWeights, scales + i);
  }
  return good;
}

template <class Block>
constexpr WeightFormat block_format(std::string_view name, uint32_t ggml_type) {
  return {.name = name,
          .ggml_type = ggml_type,
          .block_weights = Block::kWeights,
          .block_bytes = Block::kBytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .cols_per_scale = Block::kWeights,
          .unpack = unpack_block_rows<Block>};
}

}  // namespace tern::formats
