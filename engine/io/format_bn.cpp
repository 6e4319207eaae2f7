// IQ1_BN, IQ2_BN and IQ2_BN_R4: ik_llama.cpp's formats for BitNet, with one scale a row. Source: ik_llama.cpp,
// iqk_quantize.cpp.

#include "engine/io/block_format.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

constexpr int kBlock = 64;  // weights of a block

float float_at(const uint8_t* bytes) {
  float value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// 13 bytes of five base-3 digits as TQ1_0's, but the last digit first: bytes 3 i .. 3 i + 2 (i < 4) hold the weights 16 i ..
// 16 i + 14, and byte 12 the weights 16 i + 15.
struct Iq1Bn {
  static constexpr int kRowBytes = 2;
  static constexpr int kBytes = 13;

  static float scale(const uint8_t* row) { return half_at(row); }

  static int8_t trit(uint8_t byte, int digit) {
    constexpr unsigned kPowers[] = {81, 27, 9, 3, 1};
    const unsigned rest = byte * kPowers[digit] & 0xFFU;
    return static_cast<int8_t>(static_cast<int>((rest * 3U) >> 8U) - 1);
  }
  static unsigned unpack(const uint8_t* block, int8_t* trits) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 3; ++k) {
        for (int j = 0; j < 5; ++j) {
          trits[16 * i + 5 * k + j] = trit(block[3 * i + k], j);
        }
      }
      trits[16 * i + 15] = trit(block[12], i);
    }
    return 0;
  }
  static void put_scale(uint8_t* row, float scale) { put_half(row, scale); }
  // The digits of a byte, last first, are those of pack_digits in another order.
  static void pack(const int8_t* trits, uint8_t* block) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 3; ++k) {
        block[3 * i + k] = byte_of(trits + 16 * i + 5 * k, 5, 1);
      }
    }
    block[12] = byte_of(trits + 15, 4, 16);
  }
  // The smallest byte whose digits, as trit() reads them, are `count` trits `stride` apart; the others are -1.
  static uint8_t byte_of(const int8_t* trits, int count, int stride) {
    unsigned value = 0;
    for (int j = 4; j >= 0; --j) {
      value = value * 3 + (j < count ? static_cast<unsigned>(trits[j * stride] + 1) : 0U);
    }
    return static_cast<uint8_t>((value * 256 + 242) / 243);
  }
};

// 16 bytes: byte j holds the weights j, j + 16, j + 32, j + 48, the first in the low bits; codes 0, 1, 2 for -1, 0, +1.
struct Iq2Bn {
  static constexpr int kRowBytes = 4;
  static constexpr int kBytes = 16;

  static float scale(const uint8_t* row) { return float_at(row); }

  static unsigned unpack(const uint8_t* block, int8_t* trits) {
    unsigned bad = 0;
    for (int j = 0; j < 16; ++j) {
      for (int field = 0; field < 4; ++field) {
        trits[16 * field + j] = static_cast<int8_t>(((block[j] >> (2 * field)) & 3) - 1);
      }
      bad |= block[j] & (block[j] >> 1U) & 0x55U;
    }
    return bad;
  }
  static void put_scale(uint8_t* row, float scale) { std::memcpy(row, &scale, sizeof scale); }
  static void pack(const int8_t* trits, uint8_t* block) {
    for (int j = 0; j < 16; ++j) {
      unsigned byte = 0;
      for (int field = 0; field < 4; ++field) {
        byte |= static_cast<unsigned>(trits[16 * field + j] + 1) << (2 * field);
      }
      block[j] = static_cast<uint8_t>(byte);
    }
  }
};

template <class Block>
bool unpack_rows(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols, int64_t first_row,
                 int64_t row_count, int8_t* trits, float* scales) {
  const int64_t row_bytes = Block::kRowBytes + cols / kBlock * Block::kBytes;
  unsigned bad = 0;
  for (int64_t i = 0; i < row_count; ++i) {
    const uint8_t* row =
        reinterpret_cast<const uint8_t*>(data.data()) + (first_row + i) * row_bytes;
    scales[i] = Block::scale(row);
    for (int64_t block = 0; block < cols / kBlock; ++block) {
      bad |= Block::unpack(row + Block::kRowBytes + block * Block::kBytes,
                           trits + i * cols + block * kBlock);
    }
  }
  return bad == 0;
}

template <class Block>
void pack_rows(const int8_t* trits, const float* scales, int64_t rows, int64_t cols,
               std::byte* out) {
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  for (int64_t i = 0; i < rows; ++i) {
    Block::put_scale(bytes, scales[i]);
    bytes += Block::kRowBytes;
    for (int64_t col = 0; col < cols; col += kBlock, bytes += Block::kBytes) {
      Block::pack(trits + i * cols + col, bytes);
    }
  }
}

// Rows in groups of four: their scales, then 64 bytes for each 64 columns. Byte 4 k + i + 16 l belongs to row k and holds its
// weights 16 l + i, + 4, + 8, + 12, the first in the low bits.
bool unpack_four_rows(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                      int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const int64_t group_bytes = 4 * (Iq2Bn::kRowBytes + cols / kBlock * Iq2Bn::kBytes);
  unsigned bad = 0;
  for (int64_t r = 0; r < row_count; ++r) {
    const int64_t k = (first_row + r) % 4;
    const uint8_t* group =
        reinterpret_cast<const uint8_t*>(data.data()) + (first_row + r) / 4 * group_bytes;
    scales[r] = float_at(group + k * Iq2Bn::kRowBytes);
    for (int64_t block = 0; block < cols / kBlock; ++block) {
      const uint8_t* codes = group + 16 + block * 64 + 4 * k;
      int8_t* out = trits + r * cols + block * kBlock;
      for (int l = 0; l < 4; ++l) {
        for (int i = 0; i < 4; ++i) {
          const unsigned byte = codes[16 * l + i];
          for (int field = 0; field < 4; ++field) {
            out[16 * l + i + 4 * field] =
                static_cast<int8_t>(static_cast<int>((byte >> (2 * field)) & 3U) - 1);
          }
          bad |= byte & (byte >> 1U) & 0x55U;
        }
      }
    }
  }
  return bad == 0;
}

constexpr WeightFormat bn(std::string_view name, uint32_t ggml_type, int32_t row_bytes,
                          int32_t block_bytes, int32_t row_group,
                          decltype(WeightFormat::unpack) unpack,
                          decltype(WeightFormat::pack) pack) {
  return {.name = name,
          .ggml_type = ggml_type,
          .block_weights = kBlock,
          .block_bytes = block_bytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .bitnet = true,
          .row_group = row_group,
          .row_bytes = row_bytes,
          .cols_per_scale = WeightFormat::kWholeRow,
          .unpack = unpack,
          .pack = pack,
          .half_scales = row_bytes == 2};
}

}  // namespace

const WeightFormat kIq1Bn = bn("IQ1_BN", 134, 2, 13, 1, unpack_rows<Iq1Bn>, pack_rows<Iq1Bn>);
const WeightFormat kIq2Bn = bn("IQ2_BN", 135, 4, 16, 1, unpack_rows<Iq2Bn>, pack_rows<Iq2Bn>);
const WeightFormat kIq2BnR4 = bn("IQ2_BN_R4", 335, 4, 16, 4, unpack_four_rows, nullptr);

}  // namespace tern::formats
