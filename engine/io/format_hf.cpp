// The forms in which ternary weights lie in safetensors files.
//
//   packed     BitNet checkpoints: four rows in a byte. Of R rows, byte (p, c) of the R/4 x C tensor holds the rows p, p + R/4,
//              p + R/2, p + 3R/4 of column c, the first in the low bits; codes 0, 1, 2. The scale is a tensor of its own.
//   absmean    float weights that the model rounds each time it runs: w = t * s, s = max(mean |W|, 1e-5),
//              t = clamp(half_even(W * (1 / s)), -1, 1). Source: transformers, integrations/bitnet.py, WeightQuant.
//   signs      OneCompression: bits of the whole matrix row by row, the first in the highest bit; 1 is +1, 0 is -1. Rows begin
//              within bytes. The scales are tensors of their own.
//   sign rows  OneBit (bytes), LittleBit and NanoQuant (32-bit words): bits row by row, each row beginning with a byte or word of
//              its own, the first in the lowest bit; 1 is -1, 0 is +1.
//   ternary/N  float weights that take only the values -a, 0 and a in each N columns of a row.

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/half.h"
#include "engine/io/block_format.h"
#include "engine/io/formats.h"

namespace tern::formats {
namespace {

bool unpack_packed(std::span<const std::byte> data, int64_t rows, int64_t cols, int64_t first_row,
                   int64_t row_count, int8_t* trits, float* scales) {
  const auto* codes = reinterpret_cast<const uint8_t*>(data.data());
  const int64_t quarter = rows / 4;
  bool good = true;
  for (int64_t i = 0; i < row_count; ++i) {
    const int64_t row = first_row + i;
    const uint8_t* in = codes + row % quarter * cols;
    const auto shift = static_cast<int>(2 * (row / quarter));
    for (int64_t col = 0; col < cols; ++col) {
      const int code = (in[col] >> shift) & 3;
      trits[i * cols + col] = static_cast<int8_t>(code - 1);
      good &= code != 3;
    }
  }
  *scales = 1.0F;
  return good;
}

bool unpack_signs(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                  int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  const int64_t first = first_row * cols;
  for (int64_t i = 0; i < row_count * cols; ++i) {
    const int64_t bit = first + i;
    trits[i] = static_cast<int8_t>(2 * (bytes[bit / 8] >> (7 - bit % 8) & 1) - 1);
  }
  *scales = 1.0F;
  return true;
}

bool unpack_sign_rows(std::span<const std::byte> data, int64_t rows, int64_t cols,
                      int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  const int64_t row_bytes = static_cast<int64_t>(data.size()) / rows;
  for (int64_t i = 0; i < row_count; ++i) {
    const uint8_t* row = bytes + (first_row + i) * row_bytes;
    for (int64_t col = 0; col < cols; ++col) {
      trits[i * cols + col] = static_cast<int8_t>(1 - 2 * (row[col / 8] >> col % 8 & 1));
    }
  }
  *scales = 1.0F;
  return true;
}

struct F32Number {
  static constexpr int kBytes = 4;
  static float at(const uint8_t* in) {
    float value = 0;
    std::memcpy(&value, in, sizeof value);
    return value;
  }
};
struct F16Number {
  static constexpr int kBytes = 2;
  static float at(const uint8_t* in) { return half_at(in); }
};
struct Bf16Number {
  static constexpr int kBytes = 2;
  static float at(const uint8_t* in) {
    uint16_t high = 0;
    std::memcpy(&high, in, sizeof high);
    const uint32_t bits = uint32_t{high} << 16U;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
};

template <class Number>
double sum_of_magnitudes(std::span<const std::byte> data) {
  const auto* in = reinterpret_cast<const uint8_t*>(data.data());
  double sum = 0;
  for (size_t i = 0; i < data.size(); i += Number::kBytes) {
    sum += static_cast<double>(std::fabs(Number::at(in + i)));
  }
  return sum;
}

template <class Number>
bool unpack_absmean(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                    int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const uint8_t* in =
      reinterpret_cast<const uint8_t*>(data.data()) + first_row * cols * Number::kBytes;
  const float inverse = 1.0F / *scales;
  for (int64_t i = 0; i < row_count * cols; ++i) {
    const float rounded = std::nearbyint(Number::at(in + i * Number::kBytes) * inverse);
    trits[i] = static_cast<int8_t>(std::clamp(rounded, -1.0F, 1.0F));
  }
  *scales = 1.0F / inverse;
  return true;
}

template <class Number>
bool unpack_ternary_groups(std::span<const std::byte> data, int64_t cols, int64_t width,
                           int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  const uint8_t* in =
      reinterpret_cast<const uint8_t*>(data.data()) + first_row * cols * Number::kBytes;
  bool good = true;
  for (int64_t group = 0; group < row_count * cols / width; ++group) {
    float scale = 0;
    for (int64_t i = group * width; i < (group + 1) * width; ++i) {
      scale = std::fmax(scale, std::fabs(Number::at(in + i * Number::kBytes)));
    }
    for (int64_t i = group * width; i < (group + 1) * width; ++i) {
      const float value = Number::at(in + i * Number::kBytes);
      trits[i] = static_cast<int8_t>(value > 0 ? 1 : value < 0 ? -1 : 0);
      good &= value == 0 || std::fabs(value) == scale;
    }
    scales[group] = scale;
  }
  return good;
}

template <class Number, int32_t kWidth>
bool unpack_ternary(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                    int64_t first_row, int64_t row_count, int8_t* trits, float* scales) {
  return unpack_ternary_groups<Number>(data, cols,
                                       kWidth == WeightFormat::kWholeRow ? cols : kWidth, first_row,
                                       row_count, trits, scales);
}

template <class Number>
constexpr WeightFormat absmean(std::string_view name) {
  return {.name = name,
          .ggml_type = kNoGgmlType,
          .block_weights = 1,
          .block_bytes = Number::kBytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .bitnet = true,
          .unpack = unpack_absmean<Number>,
          .sum_of_magnitudes = sum_of_magnitudes<Number>};
}

template <class Number, int32_t kWidth>
constexpr WeightFormat ternary(std::string_view name) {
  return {.name = name,
          .ggml_type = kNoGgmlType,
          .block_weights = kWidth == WeightFormat::kWholeRow ? 1 : kWidth,
          .block_bytes = Number::kBytes * (kWidth == WeightFormat::kWholeRow ? 1 : kWidth),
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = true,
          .cols_per_scale = kWidth,
          .unpack = unpack_ternary<Number, kWidth>};
}

// Bits of signs in bytes of columns or of rows.
constexpr WeightFormat signs(std::string_view name, decltype(WeightFormat::unpack) unpack) {
  return {.name = name,
          .ggml_type = kNoGgmlType,
          .block_weights = 8,
          .block_bytes = 1,
          .extra_bytes = 0,
          .rows_are_blocks = false,
          .ternary = true,
          .has_zeros = false,
          .unpack = unpack};
}

constexpr int32_t kRow = WeightFormat::kWholeRow;

// Widest first.
const std::array<WeightFormat, 12> kTernaryFloats = {
    ternary<F32Number, kRow>("F32/ternary"),     ternary<F16Number, kRow>("F16/ternary"),
    ternary<Bf16Number, kRow>("BF16/ternary"),   ternary<F32Number, 256>("F32/ternary256"),
    ternary<F16Number, 256>("F16/ternary256"),   ternary<Bf16Number, 256>("BF16/ternary256"),
    ternary<F32Number, 128>("F32/ternary128"),   ternary<F16Number, 128>("F16/ternary128"),
    ternary<Bf16Number, 128>("BF16/ternary128"), ternary<F32Number, 64>("F32/ternary64"),
    ternary<F16Number, 64>("F16/ternary64"),     ternary<Bf16Number, 64>("BF16/ternary64")};

}  // namespace

const WeightFormat kPackedRows = {.name = "U8/packed",
                                  .ggml_type = kNoGgmlType,
                                  .block_weights = 4,
                                  .block_bytes = 1,
                                  .extra_bytes = 0,
                                  .rows_are_blocks = false,
                                  .ternary = true,
                                  .bitnet = true,
                                  .row_group = 4,
                                  .unpack = unpack_packed};

const WeightFormat kF32Absmean = absmean<F32Number>("F32/absmean");
const WeightFormat kF16Absmean = absmean<F16Number>("F16/absmean");
const WeightFormat kBf16Absmean = absmean<Bf16Number>("BF16/absmean");
const WeightFormat kSigns = signs("U8/signs", unpack_signs);
const WeightFormat kSignRows = signs("I32/signs", unpack_sign_rows);

const WeightFormat* find_ternary_floats(std::string_view dtype, std::span<const std::byte> data,
                                        int64_t rows, int64_t cols) {
  // Weights that are not ternary differ within the first few; those that are will be checked one by one when they are unpacked.
  const int64_t some = std::min<int64_t>(rows, 16);
  std::vector<int8_t> trits(static_cast<size_t>(some * cols));
  std::vector<float> scales(static_cast<size_t>(some * (cols / 64 + 1)));
  for (const WeightFormat& format : kTernaryFloats) {
    const bool of_type = format.name.substr(0, format.name.find('/')) == dtype;
    if (of_type && cols % format.block_weights == 0 &&
        format.unpack(data, rows, cols, 0, some, trits.data(), scales.data())) {
      return &format;
    }
  }
  return nullptr;
}

const WeightFormat* floats_of_ternary(const WeightFormat& format) {
  const size_t slash = format.name.find("/ternary");
  return slash == std::string_view::npos ? nullptr
                                         : find_weight_format(format.name.substr(0, slash));
}

}  // namespace tern::formats
