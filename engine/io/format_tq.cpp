// TQ1_0 and TQ2_0: blocks of 256 weights of one row with an fp16 scale each, after the codes. Source: llama.cpp,
// ggml-quants.c, dequantize_row_tq1_0 and dequantize_row_tq2_0. PTQ1_0: the like for blocks of 128, of PrismML's llama.cpp.

#include "engine/io/block_format.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

// 32 bytes of 5 digits, 16 bytes of 5 digits, 4 bytes of 4 digits, scale. Every byte stands for some trits.
struct Tq1_0 {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 54;
  static constexpr int kScaleAt = 52;
  static constexpr bool kEncodes = true;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
    unpack_digits<32, 5>(block, trits);
    unpack_digits<16, 5>(block + 32, trits + 160);
    unpack_digits<4, 4>(block + 48, trits + 240);
    *scale = half_at(block + kScaleAt);
    return true;
  }
  static void pack(const uint8_t* codes, uint8_t* block) {
    pack_digits<32, 5>(codes, block);
    pack_digits<16, 5>(codes + 160, block + 32);
    pack_digits<4, 4>(codes + 240, block + 48);
  }
};

// 16 bytes of 5 digits, 8 bytes of 5 digits, 2 bytes of 4 digits, scale.
struct Ptq1_0 {
  static constexpr int kWeights = 128;
  static constexpr int kBytes = 28;
  static constexpr int kScaleAt = 26;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
    unpack_digits<16, 5>(block, trits);
    unpack_digits<8, 5>(block + 16, trits + 80);
    unpack_digits<2, 4>(block + 24, trits + 120);
    *scale = half_at(block + kScaleAt);
    return true;
  }
  static void pack(const uint8_t* codes, uint8_t* block) {
    pack_digits<16, 5>(codes, block);
    pack_digits<8, 5>(codes + 80, block + 16);
    pack_digits<2, 4>(codes + 120, block + 24);
  }
};

// Two halves of 32 bytes; bits 2l and 2l + 1 of byte m are weight 32 l + m of its half; scale.
struct Tq2_0 {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 66;
  static constexpr int kScaleAt = 64;
  static constexpr bool kEncodes = true;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
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
    *scale = half_at(block + kScaleAt);
    return bad == 0;
  }
  static void pack(const uint8_t* codes, uint8_t* block) {
    for (int half = 0; half < 2; ++half, codes += 128, block += 32) {
      for (int m = 0; m < 32; ++m) {
        block[m] = static_cast<uint8_t>(codes[m] | codes[m + 32] << 2U | codes[m + 64] << 4U |
                                        codes[m + 96] << 6U);
      }
    }
  }
};

}  // namespace

const WeightFormat kTq1_0 = block_format<Tq1_0>("TQ1_0", 34);
const WeightFormat kTq2_0 = block_format<Tq2_0>("TQ2_0", 35);
const WeightFormat kPtq1_0 = block_format<Ptq1_0>("PTQ1_0", 143);

}  // namespace tern::formats
