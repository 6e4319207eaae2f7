// TQ1_0 and TQ2_0: blocks of 256 weights of one row with an fp16 scale each, after the codes. Source: llama.cpp,
// ggml-quants.c, dequantize_row_tq1_0 and dequantize_row_tq2_0.

#include <cstring>

#include "engine/base/half.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

constexpr int kBlock = 256;

float scale_at(const uint8_t* bytes) {
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

// 54 bytes: 32 bytes of 5 digits, 16 bytes of 5 digits, 4 bytes of 4 digits, scale. Every byte stands for some trits.
bool unpack_block_tq1_0(const uint8_t* block, int8_t* trits, float* scale) {
  unpack_digits<32, 5>(block, trits);
  unpack_digits<16, 5>(block + 32, trits + 160);
  unpack_digits<4, 4>(block + 48, trits + 240);
  *scale = scale_at(block + 52);
  return true;
}

// 66 bytes: two halves of 32 bytes; bits 2l and 2l + 1 of byte m are weight 32 l + m of its half; scale.
bool unpack_block_tq2_0(const uint8_t* block, int8_t* trits, float* scale) {
  unsigned bad = 0;
  for (int half = 0; half < 2; ++half) {
    const uint8_t* codes = block + 32 * half;
    for (int l = 0; l < 4; ++l) {
      for (int m = 0; m < 32; ++m) {
        trits[128 * half + 32 * l + m] = static_cast<int8_t>(((codes[m] >> (2 * l)) & 3) - 1);
      }
    }
    for (int m = 0; m < 32; ++m) {
      bad |= codes[m] & (codes[m] >> 1U) & 0x55U;  // a code of 3: both bits of a pair
    }
  }
  *scale = scale_at(block + 64);
  return bad == 0;
}

template <int kBlockBytes, bool (*kUnpackBlock)(const uint8_t*, int8_t*, float*)>
bool unpack_rows(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols, int64_t first_row,
                 int64_t row_count, int8_t* trits, float* scales) {
  const int64_t first = first_row * (cols / kBlock);
  const int64_t count = row_count * (cols / kBlock);
  const uint8_t* block = reinterpret_cast<const uint8_t*>(data.data()) + first * kBlockBytes;
  bool good = true;
  for (int64_t i = 0; i < count; ++i) {
    good &= kUnpackBlock(block + i * kBlockBytes, trits + i * kBlock, scales + i);
  }
  return good;
}

constexpr WeightFormat tq(std::string_view name, uint32_t ggml_type, int32_t block_bytes,
                          decltype(WeightFormat::unpack) unpack) {
  return {.name = name,
          .ggml_type = ggml_type,
          .block_weights = kBlock,
          .block_bytes = block_bytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .cols_per_scale = kBlock,
          .unpack = unpack};
}

}  // namespace

const WeightFormat kTq1_0 = tq("TQ1_0", 34, 54, unpack_rows<54, unpack_block_tq1_0>);
const WeightFormat kTq2_0 = tq("TQ2_0", 35, 66, unpack_rows<66, unpack_block_tq2_0>);

}  // namespace tern::formats
