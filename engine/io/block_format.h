#pragma once
// What the ternary formats share whose rows are blocks of weights: a loop over blocks, an fp16 scale.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "engine/base/half.h"
#include "engine/io/nearest_trit.h"
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

// The inverse of unpack_digits; codes are digits 0..2. A byte of fewer than 5 digits has 0 for the others.
template <int kBytes, int kTrits>
void pack_digits(const uint8_t* codes, uint8_t* out) {
  for (int m = 0; m < kBytes; ++m) {
    unsigned value = 0;
    for (int n = 0; n < 5; ++n) {
      value = value * 3 + (n < kTrits ? codes[kBytes * n + m] : 0U);
    }
    out[m] = static_cast<uint8_t>((value * 256 + 242) / 243);
  }
}

// A block format, by example:
//   struct Tq2_0 {
//     static constexpr int kWeights = 256, kBytes = 66;
//     static bool unpack(const uint8_t* block, int8_t* trits, float* scale);  // false: a code stands for no trit
//     static constexpr int kScaleAt = 64;  // where the fp16 scale lies. This and pack only where Tern writes the format
//     static void pack(const uint8_t* codes, uint8_t* block);  // codes 0..2; all but the scale
//     static constexpr bool kEncodes = true;  // floats become this format as ggml's reference encodes them
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

inline void put_half(uint8_t* out, float value) {
  const uint16_t bits = float_to_half(value);
  std::memcpy(out, &bits, sizeof bits);
}

template <class Block>
void pack_block_rows(const int8_t* trits, const float* scales, int64_t rows, int64_t cols,
                     std::byte* out) {
  auto* block = reinterpret_cast<uint8_t*>(out);
  for (int64_t i = 0; i < rows * (cols / Block::kWeights); ++i, block += Block::kBytes) {
    std::array<uint8_t, Block::kWeights> codes;
    std::transform(trits + i * Block::kWeights, trits + (i + 1) * Block::kWeights, codes.begin(),
                   [](int8_t trit) { return static_cast<uint8_t>(trit + 1); });
    Block::pack(codes.data(), block);
    put_half(block + Block::kScaleAt, scales[i]);
  }
}

// The scale is the block's largest magnitude.
template <class Block>
void encode_blocks(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  for (size_t block = 0; block < weights.size(); block += Block::kWeights) {
    const std::span<const float> x = weights.subspan(block, Block::kWeights);
    float scale = 0;
    for (const float weight : x) {
      scale = std::max(scale, std::fabs(weight));
    }
    const float inverse = scale == 0 ? 0 : 1 / scale;
    std::array<uint8_t, Block::kWeights> codes;
    std::transform(x.begin(), x.end(), codes.begin(),
                   [=](float weight) { return nearest_code(weight, inverse); });
    Block::pack(codes.data(), bytes);
    put_half(bytes + Block::kScaleAt, scale);
    bytes += Block::kBytes;
  }
}

template <class Block>
constexpr decltype(WeightFormat::encode) encoder_of() {
  if constexpr (requires { Block::kEncodes; }) {
    return encode_blocks<Block>;
  } else {
    return nullptr;
  }
}

template <class Block>
constexpr decltype(WeightFormat::pack) packer_of() {
  if constexpr (requires { &Block::pack; }) {
    return pack_block_rows<Block>;
  } else {
    return nullptr;
  }
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
          .unpack = unpack_block_rows<Block>,
          .encode = encoder_of<Block>(),
          .pack = packer_of<Block>(),
          .half_scales = true};
}

}  // namespace tern::formats
