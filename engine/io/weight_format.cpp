#include "engine/io/weight_format.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "engine/io/formats.h"

namespace tern {
namespace {

// To add a format: its entry in a format_*.cpp, and its name here.
constexpr std::array<const WeightFormat*, 30> kFormats = {
    &formats::kF32,    &formats::kF16,    &formats::kBf16,      &formats::kQ8_0,
    &formats::kQ4_0,   &formats::kQ4_1,   &formats::kQ5_0,      &formats::kQ5_1,
    &formats::kQ2K,    &formats::kQ3K,    &formats::kQ4K,       &formats::kQ5K,
    &formats::kQ6K,    &formats::kIq4Nl,  &formats::kMxfp4,     &formats::kTq1_0,
    &formats::kTq2_0,  &formats::kI2s128, &formats::kI2sArm64,  &formats::kI2s1x4,
    &formats::kQ1_0,   &formats::kQ2_0,   &formats::kQ2_0Of128, &formats::kStq1_0Id42,
    &formats::kStq1_0, &formats::kIq1Bn,  &formats::kIq2Bn,     &formats::kIq2BnR4,
    &formats::kPq2_0,  &formats::kPtq1_0};

const WeightFormat* i2s_format(I2sLayout layout) {
  switch (layout) {
    case I2sLayout::kArm64:
      return &formats::kI2sArm64;
    case I2sLayout::k1x4:
      return &formats::kI2s1x4;
    case I2sLayout::k128:
      break;
  }
  return &formats::kI2s128;
}

}  // namespace

uint64_t tensor_bytes(const WeightFormat& format, int64_t rows, int64_t cols) {
  if (format.bytes != nullptr) {
    return format.bytes(rows, cols);
  }
  if (rows <= 0 || cols <= 0 || rows % format.row_group != 0) {
    return 0;
  }
  int64_t weights = 0;
  if (__builtin_mul_overflow(rows, cols, &weights)) {
    return 0;
  }
  if ((format.rows_are_blocks ? cols : weights) % format.block_weights != 0) {
    return 0;
  }
  uint64_t bytes = 0;
  int64_t row_bytes = 0;
  if (__builtin_mul_overflow(weights / format.block_weights, format.block_bytes, &bytes) ||
      __builtin_mul_overflow(rows, format.row_bytes, &row_bytes) ||
      __builtin_add_overflow(bytes, row_bytes, &bytes) ||
      __builtin_add_overflow(bytes, format.extra_bytes, &bytes)) {
    return 0;
  }
  return bytes;
}

void encode_end(const WeightFormat& format, float tensor_scale, std::byte* out) {
  std::fill_n(out, format.extra_bytes, std::byte{0});
  if (format.extra_bytes > 0) {
    std::memcpy(out, &tensor_scale, sizeof tensor_scale);
  }
}

std::span<const WeightFormat* const> all_weight_formats() {
  return kFormats;
}

const WeightFormat* find_weight_format(std::string_view name) {
  const auto same_letter = [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) ==
           std::toupper(static_cast<unsigned char>(b));
  };
  for (const WeightFormat* format : kFormats) {
    if (std::equal(name.begin(), name.end(), format->name.begin(), format->name.end(),
                   same_letter)) {
      return format;
    }
  }
  return nullptr;
}

std::vector<const WeightFormat*> formats_of_type(uint32_t ggml_type, I2sLayout i2s_layout) {
  if (ggml_type == formats::kI2s128.ggml_type) {
    return {i2s_format(i2s_layout)};
  }
  if (ggml_type == formats::kSplitHeadType) {
    return {&formats::kSplitHead};
  }
  std::vector<const WeightFormat*> found = formats::packed_formats(ggml_type);
  for (const WeightFormat* format : kFormats) {
    if (format->ggml_type == ggml_type) {
      found.push_back(format);
    }
  }
  return found;
}

}  // namespace tern
