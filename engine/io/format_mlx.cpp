// Ternary matrices of MLX: codes 0, 1, 2 for -d, 0, d; weight j of a row is bits 2 (j mod 4) and up of byte j / 4 (words of 32 bits
// from the low end). The d lie in a tensor of their own, one for each group of columns or for each row.

#include <array>
#include <bit>
#include <cstring>

#include "engine/base/half.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

bool unpack_codes(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                  int64_t first_row, int64_t row_count, int8_t* trits, float* /*scales*/) {
  const auto* codes = reinterpret_cast<const uint8_t*>(data.data()) + first_row * (cols / 4);
  unsigned bad = 0;
  for (int64_t byte = 0; byte < row_count * (cols / 4); ++byte) {
    const unsigned four = codes[byte];
    for (unsigned i = 0; i < 4; ++i) {
      trits[4 * byte + i] = static_cast<int8_t>(static_cast<int>(four >> (2 * i) & 3U) - 1);
    }
    bad |= four & four >> 1U & 0x55U;  // a code of 3: both bits of a pair
  }
  return bad == 0;
}

template <class T>
T at(const std::byte* numbers, int64_t index) {
  T value{};
  std::memcpy(&value, numbers + index * int64_t{sizeof value}, sizeof value);
  return value;
}

float half_scale(const std::byte* scales, int64_t index) {
  return half_to_float(at<uint16_t>(scales, index));
}

float bfloat_scale(const std::byte* scales, int64_t index) {
  return std::bit_cast<float>(uint32_t{at<uint16_t>(scales, index)} << 16U);
}

constexpr int32_t kRow = WeightFormat::kWholeRow;

constexpr WeightFormat groups_of(int32_t size, std::string_view name,
                                 float (*scale_at)(const std::byte*, int64_t)) {
  const int32_t block = size == kRow ? 16 : size;  // a word
  return {.name = name,
          .ggml_type = kNoGgmlType,
          .block_weights = block,
          .block_bytes = block / 4,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .cols_per_scale = size,
          .unpack = unpack_codes,
          .scale_at = scale_at};
}

const std::array<WeightFormat, 12> kMlx = {
    groups_of(32, "MLX2/32-F16", half_scale),       groups_of(64, "MLX2/64-F16", half_scale),
    groups_of(128, "MLX2/128-F16", half_scale),     groups_of(32, "MLX2/32-BF16", bfloat_scale),
    groups_of(64, "MLX2/64-BF16", bfloat_scale),    groups_of(128, "MLX2/128-BF16", bfloat_scale),
    groups_of(32, "MLX2/32-F32", at<float>),        groups_of(64, "MLX2/64-F32", at<float>),
    groups_of(128, "MLX2/128-F32", at<float>),      groups_of(kRow, "MLX2/row-F16", half_scale),
    groups_of(kRow, "MLX2/row-BF16", bfloat_scale), groups_of(kRow, "MLX2/row-F32", at<float>)};

}  // namespace

const WeightFormat* find_mlx(std::string_view scale_dtype, int64_t group_size) {
  for (const WeightFormat& format : kMlx) {
    if (format.cols_per_scale == group_size &&
        format.name.substr(format.name.find('-') + 1) == scale_dtype) {
      return &format;
    }
  }
  return nullptr;
}

}  // namespace tern::formats
