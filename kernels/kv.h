#pragma once
// How the keys and values of one kv head lie in memory. Blocks of kKvBlock positions follow one another; in a block, numbers
// stand in lines of kKvLine, in the order in which attention reads them:
//   keys     for each tile of 16 positions, for each dimension: that dimension of the tile's positions;
//   values   for each 16 dimensions (zeros fill the last), for each position: its 16 values;
//   scales   of kQ8_0 only, halves: for keys, then for values, for each 32 dimensions: those of the block's positions.
// So both products of attention, q . k and weights . v, are sums of lines times one number each.

#include <cstddef>
#include <cstdint>

namespace tern {

// IEEE half precision.
using Half = uint16_t;

enum class KvType : uint8_t {
  kF16,   // halves
  kQ8_0,  // int8 with a half scale for each 32 dimensions of a position, as in ggml's Q8_0
};

inline constexpr int32_t kKvBlock = 64;      // positions
inline constexpr int32_t kKvLine = 16;       // numbers
inline constexpr int32_t kKvScaleDims = 32;  // dimensions that share a scale

struct KvLayout {
  KvType type = KvType::kF16;
  int32_t dims = 0;  // of a head

  size_t number_bytes() const { return type == KvType::kF16 ? sizeof(Half) : sizeof(int8_t); }
  int32_t slabs() const { return (dims + kKvLine - 1) / kKvLine; }
  int32_t scale_groups() const {
    return type == KvType::kF16 ? 0 : (dims + kKvScaleDims - 1) / kKvScaleDims;
  }

  // Offsets in a block, in bytes. Line of dimension `dim` of positions 16 * tile and on.
  size_t key_line(int32_t tile, int32_t dim) const {
    return (static_cast<size_t>(tile) * size(dims) + size(dim)) * kKvLine * number_bytes();
  }
  // Line of dimensions 16 * slab and on of position `position` of the block.
  size_t value_line(int32_t slab, int32_t position) const {
    return keys_bytes() + (size(slab) * kKvBlock + size(position)) * kKvLine * number_bytes();
  }
  // Scales of a group of dimensions, for all positions of the block.
  size_t key_scales(int32_t group) const {
    return value_line(slabs(), 0) + size(group) * kKvBlock * sizeof(Half);
  }
  size_t value_scales(int32_t group) const { return key_scales(scale_groups() + group); }

  // A multiple of 64.
  size_t block_bytes() const { return key_scales(2 * scale_groups()); }
  static int64_t blocks(int64_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }

 private:
  static constexpr size_t size(int32_t n) { return static_cast<size_t>(n); }
  size_t keys_bytes() const { return size(dims) * kKvBlock * number_bytes(); }
};

// Puts one position's key and value, dims floats each, into the blocks of its head. `to_half`: a table's.
// kF16 rounds to the nearest half. kQ8_0: scale = max|x| / 127 of each 32 dimensions, rounded to a half; x becomes
// half_even(x / scale) in -127..127. A maximum beyond what halves hold makes the scale infinite and the numbers 0, so that the
// result is not a number.
void store_kv(void (*to_half)(const float* x, int32_t n, Half* out) noexcept,
              const KvLayout& layout, int32_t position, const float* k, const float* v,
              uint8_t* blocks);

}  // namespace tern
