// The formats that the dense kernels read in place: geometry (sizes from ggml's block structures), and encoders, which round
// as ggml's reference encoders do, to the same bytes (Q6_K, Q4_K: see there).

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/base/half.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

template <class T>
void put(std::byte*& out, T value) {
  std::memcpy(out, &value, sizeof value);
  out += sizeof value;
}

void encode_f32(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  std::memcpy(out, weights.data(), weights.size_bytes());
}

void encode_f16(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (const float weight : weights) {
    put(out, float_to_half(weight));
  }
}

// The upper half of a float, rounded to the nearest, ties to even.
uint16_t bfloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) {
    return static_cast<uint16_t>(bits >> 16U | 64U);  // quiet, lest the fraction become 0: infinity
  }
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

void encode_bf16(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (const float weight : weights) {
    put(out, bfloat(weight));
  }
}

// The weight of largest magnitude, with its sign.
float extreme(std::span<const float> weights) {
  float found = 0;
  for (const float weight : weights) {
    found = std::fabs(weight) > std::fabs(found) ? weight : found;
  }
  return found;
}

float reciprocal(float value) {
  return value == 0 ? 0 : 1 / value;
}

constexpr size_t kSmallBlock = 32;

void encode_q8_0(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSmallBlock) {
    const std::span<const float> x = weights.subspan(block, kSmallBlock);
    const float scale = std::fabs(extreme(x)) / 127;
    const float inverse = reciprocal(scale);
    put(out, float_to_half(scale));
    for (const float weight : x) {
      put(out, static_cast<int8_t>(std::round(weight * inverse)));
    }
  }
}

// 32 codes in 16 bytes: code i below, code i + 16 above.
template <class Code>
void put_nibbles(std::byte*& out, const Code& code) {
  for (size_t i = 0; i < kSmallBlock / 2; ++i) {
    put(out, static_cast<uint8_t>((code(i) & 15U) | (code(i + kSmallBlock / 2) & 15U) << 4U));
  }
}

// Codes 0..15 stand for -8..7: the largest magnitude becomes -8 whatever its sign, so the scale may be negative.
void encode_q4_0(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSmallBlock) {
    const std::span<const float> x = weights.subspan(block, kSmallBlock);
    const float scale = extreme(x) / -8;
    const float inverse = reciprocal(scale);
    const auto code = [&](size_t i) {
      return static_cast<unsigned>(std::clamp(static_cast<int>(x[i] * inverse + 8.5F), 0, 15));
    };
    put(out, float_to_half(scale));
    put_nibbles(out, code);
  }
}

// The smallest and the largest of a block.
std::pair<float, float> range_of(std::span<const float> x) {
  const auto [low, high] = std::ranges::minmax_element(x);
  return {*low, *high};
}

// The fifth bits of 32 codes.
template <class Code>
void put_top_bits(std::byte*& out, const Code& code) {
  uint32_t bits = 0;
  for (size_t i = 0; i < kSmallBlock; ++i) {
    bits |= (code(i) >> 4U & 1U) << i;
  }
  put(out, bits);
}

// Codes from 0 stand for steps above the smallest weight.
template <unsigned kLast>
void encode_with_minimum(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSmallBlock) {
    const std::span<const float> x = weights.subspan(block, kSmallBlock);
    const auto [low, high] = range_of(x);
    const float scale = (high - low) / static_cast<float>(kLast);
    const float inverse = reciprocal(scale);
    const auto code = [&, low = low](size_t i) {
      return std::min(static_cast<unsigned>((x[i] - low) * inverse + 0.5F), kLast);
    };
    put(out, float_to_half(scale));
    put(out, float_to_half(low));
    if (kLast > 15) {
      put_top_bits(out, code);
    }
    put_nibbles(out, code);
  }
}

// As Q4_0, with codes 0..31 for -16..15.
void encode_q5_0(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSmallBlock) {
    const std::span<const float> x = weights.subspan(block, kSmallBlock);
    const float scale = extreme(x) / -16;
    const float inverse = reciprocal(scale);
    const auto code = [&](size_t i) {
      return static_cast<unsigned>(std::clamp(static_cast<int>(x[i] * inverse + 16.5F), 0, 31));
    };
    put(out, float_to_half(scale));
    put_top_bits(out, code);
    put_nibbles(out, code);
  }
}

// The scale is a power of two, 2^(e - 127), under which the largest magnitude lies between 4 and 8; a code stands for the
// nearest of the 4-bit floats, the lower code where two are as near.
void encode_mxfp4(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  constexpr float kFloats[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  for (size_t block = 0; block < weights.size(); block += kSmallBlock) {
    const std::span<const float> x = weights.subspan(block, kSmallBlock);
    const float largest = std::fabs(extreme(x));
    const float exponent = largest > 0 ? std::floor(std::log2(largest)) - 2 + 127 : 0;
    const auto e = static_cast<uint8_t>(std::clamp(exponent, 0.0F, 254.0F));
    const float unit = std::ldexp(1.0F, e - 127);
    const auto code = [&](size_t i) {
      unsigned best = 0;
      for (unsigned c = 1; c < 8; ++c) {
        const float magnitude = std::fabs(x[i]);
        const bool nearer =
            std::fabs(unit * kFloats[c] - magnitude) < std::fabs(unit * kFloats[best] - magnitude);
        best = nearer ? c : best;
      }
      return best != 0 && x[i] < 0 ? best + 8 : best;
    };
    put(out, e);
    put_nibbles(out, code);
  }
}

// A block of Q6_K as the file has it. Weight i of half h (128 weights) has its low 4 bits in byte 64 h + i % 64 of `low`, the
// upper nibble from i = 64 on, and its high 2 bits in bits 2 (i / 32) of byte 32 h + i % 32 of `high`.
struct BlockQ6K {
  std::array<uint8_t, 128> low;
  std::array<uint8_t, 64> high;
  std::array<int8_t, 16> scales;  // of 16 weights each, in units of `unit`
  uint16_t unit;                  // half
};
static_assert(sizeof(BlockQ6K) == 210);

constexpr size_t kSuperBlock = 256;
constexpr size_t kGroup = 16;

// Codes 0..63 stand for -32..31. Each group's largest magnitude becomes -32; scales are then rounded to multiples of 1/127 of
// the largest. ggml's encoder also searches for scales of least squared error; this one does not.
BlockQ6K encode_block_q6_k(std::span<const float> x) {
  std::array<float, kSuperBlock / kGroup> scales{};
  for (size_t group = 0; group < scales.size(); ++group) {
    scales[group] = extreme(x.subspan(group * kGroup, kGroup)) / -32;
  }
  BlockQ6K block{};
  block.unit = float_to_half(extreme(scales) / -127);
  const float unit = half_to_float(block.unit);
  for (size_t group = 0; group < scales.size(); ++group) {
    const float steps = std::round(scales[group] * reciprocal(unit));
    block.scales[group] = static_cast<int8_t>(std::clamp(steps, -128.0F, 127.0F));
    const float inverse = reciprocal(unit * block.scales[group]);
    for (size_t n = group * kGroup; n < (group + 1) * kGroup; ++n) {
      const float level = std::clamp(std::round(x[n] * inverse), -32.0F, 31.0F);
      const auto code = static_cast<unsigned>(static_cast<int>(level) + 32);
      const size_t half = n / 128;
      const size_t i = n % 128;
      block.low[64 * half + i % 64] |= static_cast<uint8_t>((code & 15U) << (i < 64 ? 0U : 4U));
      block.high[32 * half + i % 32] |= static_cast<uint8_t>(code >> 4U << (2 * (i / 32)));
    }
  }
  return block;
}

void encode_q6_k(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSuperBlock) {
    put(out, encode_block_q6_k(weights.subspan(block, kSuperBlock)));
  }
}

// A block of Q4_K as the file has it: 8 sub-blocks of 32 weights, weight = unit * scale * code - least * minimum. Byte 32 h + i
// of `codes` has weight i of sub-block 2 h in its low half and of sub-block 2 h + 1 in its high half.
struct BlockQ4K {
  uint16_t unit;                  // half, of scales
  uint16_t least;                 // half, of minima
  std::array<uint8_t, 12> steps;  // 6-bit scales and minima: see put_steps
  std::array<uint8_t, 128> codes;
};
static_assert(sizeof(BlockQ4K) == 144);

// Bytes 0-3 and 4-7 end in the scales and minima of sub-blocks 0-3; bytes 8-11 hold the low four bits of those of 4-7, scale
// first, whose top two bits are the tops of bytes 0-3 and 4-7.
void put_steps(std::array<uint8_t, 12>& steps, size_t sub, unsigned scale, unsigned minimum) {
  if (sub < 4) {
    steps[sub] = static_cast<uint8_t>(steps[sub] | scale);
    steps[sub + 4] = static_cast<uint8_t>(steps[sub + 4] | minimum);
  } else {
    steps[sub + 4] = static_cast<uint8_t>((scale & 15U) | (minimum & 15U) << 4U);
    steps[sub - 4] = static_cast<uint8_t>(steps[sub - 4] | scale >> 4U << 6U);
    steps[sub] = static_cast<uint8_t>(steps[sub] | minimum >> 4U << 6U);
  }
}

// Codes 0..15 span each sub-block from its least weight (0 if that is above) to its largest; scales and minima are then rounded
// to multiples of 1/63 of the largest. Like Q6_K without ggml's search for least squared error.
BlockQ4K encode_block_q4_k(std::span<const float> x) {
  constexpr size_t kSubs = 8;
  std::array<float, kSubs> scales{};
  std::array<float, kSubs> minima{};
  for (size_t sub = 0; sub < kSubs; ++sub) {
    const auto [low, high] = std::ranges::minmax(x.subspan(sub * kSmallBlock, kSmallBlock));
    minima[sub] = -std::min(low, 0.0F);
    scales[sub] = (std::max(high, 0.0F) + minima[sub]) / 15;
  }
  BlockQ4K block{};
  block.unit = float_to_half(std::ranges::max(scales) / 63);
  block.least = float_to_half(std::ranges::max(minima) / 63);
  const float unit = half_to_float(block.unit);
  const float least = half_to_float(block.least);
  for (size_t sub = 0; sub < kSubs; ++sub) {
    const auto steps = [](float value, float of) {
      return static_cast<unsigned>(std::clamp(std::round(value * reciprocal(of)), 0.0F, 63.0F));
    };
    const unsigned scale = steps(scales[sub], unit);
    const unsigned minimum = steps(minima[sub], least);
    put_steps(block.steps, sub, scale, minimum);
    const float inverse = reciprocal(unit * static_cast<float>(scale));
    const float offset = least * static_cast<float>(minimum);
    for (size_t i = 0; i < kSmallBlock; ++i) {
      const float level = std::round((x[sub * kSmallBlock + i] + offset) * inverse);
      const auto code = static_cast<unsigned>(std::clamp(level, 0.0F, 15.0F));
      uint8_t& byte = block.codes[sub / 2 * kSmallBlock + i];
      byte = static_cast<uint8_t>(byte | code << (4 * (sub % 2)));
    }
  }
  return block;
}

void encode_q4_k(std::span<const float> weights, float /*tensor_scale*/, std::byte* out) {
  for (size_t block = 0; block < weights.size(); block += kSuperBlock) {
    put(out, encode_block_q4_k(weights.subspan(block, kSuperBlock)));
  }
}

constexpr WeightFormat dense(std::string_view name, uint32_t ggml_type, int32_t block_weights,
                             int32_t block_bytes, decltype(WeightFormat::encode) encode) {
  return {.name = name,
          .ggml_type = ggml_type,
          .block_weights = block_weights,
          .block_bytes = block_bytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = false,
          .encode = encode};
}

}  // namespace

const WeightFormat kF32 = dense("F32", 0, 1, 4, encode_f32);
const WeightFormat kF16 = dense("F16", 1, 1, 2, encode_f16);
const WeightFormat kBf16 = dense("BF16", 30, 1, 2, encode_bf16);
// fp16 scale, 32 x int8.
const WeightFormat kQ8_0 = dense("Q8_0", 8, 32, 2 + 32, encode_q8_0);
// fp16 scale, 32 x 4 bits.
const WeightFormat kQ4_0 = dense("Q4_0", 2, 32, 2 + 16, encode_q4_0);
// fp16 scale and minimum, 32 x 4 bits.
const WeightFormat kQ4_1 = dense("Q4_1", 3, 32, 2 + 2 + 16, encode_with_minimum<15>);
// fp16 scale, 32 x 5 bits.
const WeightFormat kQ5_0 = dense("Q5_0", 6, 32, 2 + 4 + 16, encode_q5_0);
// fp16 scale and minimum, 32 x 5 bits.
const WeightFormat kQ5_1 = dense("Q5_1", 7, 32, 2 + 2 + 4 + 16, encode_with_minimum<31>);
// 16 x (4-bit scale, 4-bit minimum), 256 x 2 bits, fp16 scale and minimum.
const WeightFormat kQ2K = dense("Q2_K", 10, 256, 16 + 64 + 2 + 2, nullptr);
// 256 x (1 high bit, 2 low bits), 16 x 6-bit scale, fp16 scale.
const WeightFormat kQ3K = dense("Q3_K", 11, 256, 32 + 64 + 12 + 2, nullptr);
// Q4_K and 256 x 1 bit.
const WeightFormat kQ5K = dense("Q5_K", 13, 256, 2 + 2 + 12 + 32 + 128, nullptr);
// fp16 scale, 32 x 4 bits for one of 16 levels.
const WeightFormat kIq4Nl = dense("IQ4_NL", 20, 32, 2 + 16, nullptr);
// A power of two, 32 x floats of 4 bits.
const WeightFormat kMxfp4 = dense("MXFP4", 39, 32, 1 + 16, encode_mxfp4);
// fp16 scale and minimum, 8 x (6-bit scale, 6-bit minimum), 256 x 4 bits.
const WeightFormat kQ4K = dense("Q4_K", 12, 256, 2 + 2 + 12 + 128, encode_q4_k);
// 256 x (4 low bits, 2 high bits), 16 x int8 scale, fp16 scale.
const WeightFormat kQ6K = dense("Q6_K", 14, 256, 128 + 64 + 16 + 2, encode_q6_k);

}  // namespace tern::formats
