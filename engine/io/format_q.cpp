// Q1_0, Q2_0 and STQ1_0: blocks with an fp16 scale, of one bit, two bits and a bit and a quarter a weight.
// Sources: llama.cpp, ggml-common.h (Q1_0, Q2_0); PrismML's llama.cpp (groups of 128: PQ2_0, before under the id of Q2_0);
// Tencent's AngelSlim (STQ1_0: of each four weights one is 0).

#include "engine/io/block_format.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

// Scale first; weight j is bit j mod 8 of byte j / 8: 1 for +1, 0 for -1.
struct Q1_0 {
  static constexpr int kWeights = 128;
  static constexpr int kBytes = 18;
  static constexpr int kScaleAt = 0;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
    for (int j = 0; j < kWeights; ++j) {
      trits[j] = static_cast<int8_t>(2 * ((block[2 + j / 8] >> (j % 8)) & 1) - 1);
    }
    *scale = half_at(block);
    return true;
  }
  static void pack(const uint8_t* codes, uint8_t* block) {
    for (int byte = 0; byte < kWeights / 8; ++byte) {
      unsigned bits = 0;
      for (int j = 0; j < 8; ++j) {
        bits |= (codes[8 * byte + j] >> 1U & 1U) << j;
      }
      block[2 + byte] = static_cast<uint8_t>(bits);
    }
  }
};

// Scale first; weight j is bits 2 (j mod 4) and up of byte j / 4: 0, 1, 2 for -1, 0, +1. The format also has 3, for +2: not
// ternary.
template <int kGroup>
struct Q2_0 {
  static constexpr int kWeights = kGroup;
  static constexpr int kBytes = 2 + kGroup / 4;
  static constexpr int kScaleAt = 0;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
    unsigned bad = 0;
    for (int byte = 0; byte < kGroup / 4; ++byte) {
      const unsigned codes = block[2 + byte];
      for (unsigned i = 0; i < 4; ++i) {
        trits[4 * byte + static_cast<int>(i)] =
            static_cast<int8_t>(static_cast<int>((codes >> (2 * i)) & 3U) - 1);
      }
      bad |= codes & (codes >> 1U) & 0x55U;
    }
    *scale = half_at(block);
    return bad == 0;
  }
  static void pack(const uint8_t* codes, uint8_t* block) {
    for (int byte = 0; byte < kGroup / 4; ++byte) {
      const uint8_t* c = codes + 4 * byte;
      block[2 + byte] = static_cast<uint8_t>(c[0] | c[1] << 2U | c[2] << 4U | c[3] << 6U);
    }
  }
};

// 64 groups of four weights that lie 16 apart: group g holds the weights 64 (g / 16) + g mod 16 + 16 p, p < 4. Its four bits
// (bytes 0..31, low half first) say which of them is 0 (bits 3 and 2) and whether the second and the third of the others differ
// from the first (bits 0 and 1); its bit in bytes 32..39 is the first one's sign. Scale last.
struct Stq1_0 {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 42;

  static bool unpack(const uint8_t* block, int8_t* trits, float* scale) {
    for (unsigned g = 0; g < 64; ++g) {
      const unsigned slot = (block[g / 2] >> (4 * (g % 2))) & 15U;
      const int first = ((block[32 + g / 8] >> (g % 8)) & 1U) != 0 ? -1 : 1;
      const int others[3] = {first, (slot & 1U) != 0 ? -first : first,
                             (slot & 2U) != 0 ? -first : first};
      int8_t* group = trits + 64 * (g / 16) + g % 16;
      int next = 0;
      for (unsigned p = 0; p < 4; ++p) {
        group[16 * p] = static_cast<int8_t>(p == slot >> 2U ? 0 : others[next++]);
      }
    }
    *scale = half_at(block + 40);
    return true;
  }
};

constexpr WeightFormat one_bit(WeightFormat format) {
  format.has_zeros = false;
  return format;
}

}  // namespace

const WeightFormat kQ1_0 = one_bit(block_format<Q1_0>("Q1_0", 41));
const WeightFormat kQ2_0 = block_format<Q2_0<64>>("Q2_0", 42);
const WeightFormat kQ2_0Of128 = block_format<Q2_0<128>>("Q2_0/128", 42);
const WeightFormat kPq2_0 = block_format<Q2_0<128>>("PQ2_0", 142);
const WeightFormat kStq1_0 = block_format<Stq1_0>("STQ1_0", 43);
const WeightFormat kStq1_0Id42 = block_format<Stq1_0>("STQ1_0", 42);

}  // namespace tern::formats
