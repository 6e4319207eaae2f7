// I2_S: two bits a weight (0, 1, 2 for -1, 0, +1; 3 stands for nothing) and one F32 scale a tensor, after the codes.
//
// bitnet.cpp has written three byte orders under this one type id, of equal size and without a flag:
//   128     the tensor as one flat sequence in blocks of 128 weights = 32 bytes; byte p holds the weights p, p + 32, p + 64
//           and p + 96 of its block, the first in the top bits. All files that Microsoft and TII publish.
//   arm64   the same with blocks of 64 weights = 16 bytes: files that were quantized on an ARM machine since 2025-11.
//   1x4     rows in groups of four; byte c of a group holds column c of its four rows, the first in the top bits:
//           files of x86 builds without ACT_PARALLEL.
// Source: microsoft/BitNet, src/ggml-bitnet-mad.cpp, quantize_i2_s.

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/io/formats.h"
#include "engine/io/nearest_trit.h"

namespace tern::formats {
namespace {

// The weight in bits 2 * (3 - field) of a byte.
inline int8_t trit(uint8_t byte, int field) {
  return static_cast<int8_t>(((byte >> (6 - 2 * field)) & 3) - 1);
}

// Non-zero if one of the four codes of a byte is 3: both bits of a pair set.
inline unsigned bad_codes(uint8_t byte) {
  return byte & (byte >> 1U) & 0x55U;
}

float scale_after(std::span<const std::byte> data, int64_t count) {
  float scale = 0;
  std::memcpy(&scale, data.data() + count / 4, sizeof scale);
  return scale;
}

// One block of 4 * kStride weights. Returns bad_codes of all its bytes.
template <int kStride>
unsigned unpack_block(const uint8_t* codes, int8_t* trits) {
  unsigned bad = 0;
  for (int field = 0; field < 4; ++field) {
    for (int p = 0; p < kStride; ++p) {
      trits[kStride * field + p] = trit(codes[p], field);
    }
  }
  for (int p = 0; p < kStride; ++p) {
    bad |= bad_codes(codes[p]);
  }
  return bad;
}

template <int kStride>
bool unpack_blocks(std::span<const std::byte> data, int64_t rows, int64_t cols, int64_t first_row,
                   int64_t row_count, int8_t* trits, float* scales) {
  constexpr int64_t kBlock = 4 * kStride;
  const auto* codes = reinterpret_cast<const uint8_t*>(data.data());
  const int64_t end = (first_row + row_count) * cols;
  unsigned bad = 0;
  // Rows may begin and end inside a block (cols need not be a multiple of it): such blocks go through `whole`.
  std::array<int8_t, size_t{4} * kStride> whole{};
  for (int64_t at = first_row * cols; at < end;) {
    const int64_t block = at / kBlock;
    const int64_t skip = at - block * kBlock;
    const int64_t take = std::min(kBlock - skip, end - at);
    if (take == kBlock) {
      bad |= unpack_block<kStride>(codes + block * kStride, trits);
    } else {
      bad |= unpack_block<kStride>(codes + block * kStride, whole.data());
      std::memcpy(trits, whole.data() + skip, static_cast<size_t>(take));
    }
    trits += take;
    at += take;
  }
  *scales = scale_after(data, rows * cols);
  return bad == 0;
}

bool unpack_1x4(std::span<const std::byte> data, int64_t rows, int64_t cols, int64_t first_row,
                int64_t row_count, int8_t* trits, float* scales) {
  const auto* codes = reinterpret_cast<const uint8_t*>(data.data());
  unsigned bad = 0;
  for (int64_t row = first_row; row < first_row + row_count; ++row) {
    const uint8_t* group = codes + row / 4 * cols;
    const int field = static_cast<int>(row % 4);
    for (int64_t col = 0; col < cols; ++col) {
      trits[col] = trit(group[col], field);
      bad |= bad_codes(group[col]);
    }
    trits += cols;
  }
  *scales = scale_after(data, rows * cols);
  return bad == 0;
}

template <int kStride>
void encode_blocks(std::span<const float> weights, float scale, std::byte* out) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  for (size_t block = 0; block < weights.size(); block += size_t{4} * kStride) {
    for (size_t p = 0; p < kStride; ++p) {
      unsigned byte = 0;
      for (size_t field = 0; field < 4; ++field) {
        byte = byte << 2U | nearest_code(weights[block + kStride * field + p], inverse);
      }
      *out++ = static_cast<std::byte>(byte);
    }
  }
}

template <int kStride>
void pack_blocks(const int8_t* trits, const float* /*scales*/, int64_t rows, int64_t cols,
                 std::byte* out) {
  for (int64_t block = 0; block < rows * cols; block += int64_t{4} * kStride) {
    for (int p = 0; p < kStride; ++p) {
      unsigned byte = 0;
      for (int field = 0; field < 4; ++field) {
        byte = byte << 2U | static_cast<unsigned>(trits[block + kStride * field + p] + 1);
      }
      *out++ = static_cast<std::byte>(byte);
    }
  }
}

constexpr WeightFormat i2s(std::string_view name, int32_t block_weights, int32_t row_group,
                           decltype(WeightFormat::unpack) unpack,
                           decltype(WeightFormat::encode) encode,
                           decltype(WeightFormat::pack) pack) {
  return {.name = name,
          .ggml_type = 36,
          .block_weights = block_weights,
          .block_bytes = block_weights / 4,
          .extra_bytes = 32,  // the scale and 28 bytes of padding
          .rows_are_blocks = false,
          .ternary = true,
          .bitnet = true,
          .row_group = row_group,
          .cols_per_scale = 0,
          .unpack = unpack,
          .encode = encode,
          .pack = pack};
}

}  // namespace

const WeightFormat kI2s128 =
    i2s("I2_S", 128, 1, unpack_blocks<32>, encode_blocks<32>, pack_blocks<32>);
const WeightFormat kI2sArm64 = i2s("I2_S/arm64", 64, 1, unpack_blocks<16>, nullptr, nullptr);
const WeightFormat kI2s1x4 = i2s("I2_S/1x4", 4, 4, unpack_1x4, nullptr, nullptr);

}  // namespace tern::formats
