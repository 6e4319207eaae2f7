#pragma once
// The weight formats that Tern reads: one entry a format, one file a family (format_*.cpp).
//
// A format knows its geometry (so that the container can check sizes) and, if ternary, how to turn its bytes into trits and
// scales. Dense formats are read by the kernels in the order they lie in the file, so they need no decoder here.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tern {

// The three byte orders that bitnet.cpp has written under the one type id of I2_S; nothing in a file tells them apart.
enum class I2sLayout : uint8_t { k128, kArm64, k1x4 };

// How the kernels' own layouts share bytes among weights (kernels/layout.h), by their numbers in files.
enum class StoredPacking : uint8_t { kTwoBit, kBase3, kBitplanes, kSign };
inline constexpr std::string_view kStoredPackingNames[] = {"two_bit", "base3", "bitplanes", "sign"};

// A layout as it is stored: rows and columns of a tile. 0 x 0: none.
struct PackedTiles {
  StoredPacking packing = StoredPacking::kTwoBit;
  int32_t rows = 0;
  int32_t cols = 0;

  friend bool operator==(const PackedTiles&, const PackedTiles&) = default;
};

struct WeightFormat {
  static constexpr int32_t kWholeRow = -1;

  std::string_view
      name;  // as its inventor spells it: "TQ2_0"; "/..." tells formats of one name and id apart
  uint32_t ggml_type;     // id in a GGUF file
  int32_t block_weights;  // weights in a block
  int32_t block_bytes;    // bytes of a block
  int32_t extra_bytes;    // bytes after the last block (I2_S keeps its scale there)
  bool rows_are_blocks;   // a row is a whole number of blocks (all but I2_S)
  bool ternary;
  bool bitnet = false;    // made for BitNet models, which were trained with activations of 8 bits
  int32_t row_group = 1;  // the number of rows is a multiple of this
  int32_t row_bytes = 0;  // bytes of a row besides its blocks

  // Ternary only. Columns that share a scale: a divisor of the row length, kWholeRow, or 0 for one scale per tensor.
  int32_t cols_per_scale = 0;
  bool has_zeros = true;  // false: every weight is -1 or +1
  // Ternary only. Writes rows [first_row, first_row + row_count) of a rows x cols tensor as trits (-1, 0, 1), row-major, and
  // their scales, row_count x (cols / scale_width(cols)) floats, or just one if cols_per_scale is 0.
  // Returns false if a code stands for no trit. `data` holds the whole tensor.
  bool (*unpack)(std::span<const std::byte> data, int64_t rows, int64_t cols, int64_t first_row,
                 int64_t row_count, int8_t* trits, float* scales) = nullptr;
  // Set where a tensor's scale is the mean magnitude of its weights: the sum over whole rows. unpack() then takes that mean (at
  // least 1e-5) in *scales, and leaves the scale there.
  double (*sum_of_magnitudes)(std::span<const std::byte> rows) = nullptr;

  // Set where the scales lie apart from the codes (Tensor::scales), row by row: reads one. unpack() then leaves scales alone; callers
  // use unpack_rows (tensor_file.h), which fills them in.
  float (*scale_at)(const std::byte* scales, int64_t index) = nullptr;

  // Writes `weights`, whole blocks in the order of the file, as weights.size() / block_weights * block_bytes bytes; a tensor may
  // come in several pieces. Ternary formats round to the nearest of -1, 0, 1 times a scale: the largest magnitude of the block,
  // or `tensor_scale` where one scale serves the whole tensor (other formats ignore it).
  // Null for formats that Tern reads but does not write.
  void (*encode)(std::span<const float> weights, float tensor_scale, std::byte* out) = nullptr;

  // Ternary only. The inverse of unpack: whole rows (as many as fill whole blocks and row groups) as the bytes that stand for them in
  // the file; scales as unpack gives them, rounded to what the format stores. One scale per tensor is not written here but by
  // encode_end. Null for formats that Tern reads but does not write.
  void (*pack)(const int8_t* trits, const float* scales, int64_t rows, int64_t cols,
               std::byte* out) = nullptr;
  bool half_scales = false;  // scales are stored in half precision

  PackedTiles tiles = {};  // of the kernels' own layouts
  // Bytes of a tensor, where they do not follow from blocks; 0: the shape does not fit.
  uint64_t (*bytes)(int64_t rows, int64_t cols) = nullptr;

  // Whether weights lie as some kernel reads them.
  bool packed() const { return tiles.rows > 0; }
  // Columns of a row of `cols` that share a scale: all of them where rows share theirs.
  int64_t scale_width(int64_t cols) const { return cols_per_scale > 0 ? cols_per_scale : cols; }
};

// The extra_bytes that end an encoded tensor (I2_S: its scale, and padding).
void encode_end(const WeightFormat& format, float tensor_scale, std::byte* out);

// Bytes of a rows x cols tensor; 0 if the shape does not fit the format (or overflows).
uint64_t tensor_bytes(const WeightFormat& format, int64_t rows, int64_t cols);

// All formats; the order is that of the documentation. The other layouts of I2_S follow it as "I2_S/arm64" and "I2_S/1x4".
std::span<const WeightFormat* const> all_weight_formats();

// The format of that name, in letters of any case, or null.
const WeightFormat* find_weight_format(std::string_view name);

// The formats that go by a type id: none, one, or several that only the sizes of tensors can tell apart. The layout chooses
// among I2_S's.
std::vector<const WeightFormat*> formats_of_type(uint32_t ggml_type,
                                                 I2sLayout i2s_layout = I2sLayout::k128);

}  // namespace tern
