#include "engine/model/packed.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/io/formats.h"

namespace tern {

// The numbers in files are the order of kernels/layout.h.
static_assert(static_cast<int>(Packing::kTwoBit) == static_cast<int>(StoredPacking::kTwoBit));
static_assert(static_cast<int>(Packing::kBase3) == static_cast<int>(StoredPacking::kBase3));
static_assert(static_cast<int>(Packing::kBitplanes) == static_cast<int>(StoredPacking::kBitplanes));
static_assert(static_cast<int>(Packing::kSign) == static_cast<int>(StoredPacking::kSign));

size_t ternary_weights(const TensorFile& file) {
  size_t weights = 0;
  for (const Tensor& tensor : file.tensors()) {
    weights += tensor.format->ternary ? static_cast<size_t>(tensor.rows() * tensor.cols()) : 0;
  }
  return weights;
}

TernaryKind choose_ternary_kind(const KernelTable& kernels, const TernaryChoice& choice,
                                size_t weights) {
  const TernaryKind suited = weights <= kCachedWeights ? choice.cached.value_or(kernels.cached)
                                                       : choice.streamed.value_or(kernels.streamed);
  return choice.wanted.value_or(suited);
}

std::optional<PackedLayout> stored_layout(const WeightFormat& format) {
  if (!format.packed()) {
    return std::nullopt;
  }
  return PackedLayout{static_cast<Packing>(format.tiles.packing),
                      static_cast<uint8_t>(format.tiles.rows),
                      static_cast<uint16_t>(format.tiles.cols)};
}

const WeightFormat& stored_format(const PackedLayout& layout) {
  const WeightFormat* format = formats::find_packed(
      {static_cast<StoredPacking>(layout.packing), layout.tile_rows, layout.tile_k});
  TERN_CHECK(format != nullptr, "a kernel's layout is missing in format_packed.cpp");
  return *format;
}

KernelChoice::KernelChoice(const TensorFile& file, const KernelTable& kernels,
                           const TernaryChoice& choice)
    : kernels_(kernels),
      wanted_(choice.wanted.has_value()),
      ternary_(&kernels.kernel(choose_ternary_kind(kernels, choice, ternary_weights(file)))),
      one_bit_(wanted_ ? ternary_ : &kernels.kernel(TernaryKind::kSign)) {}

const TernaryKernel& KernelChoice::of(const WeightFormat& format) const {
  const TernaryKernel& suited = format.has_zeros ? *ternary_ : *one_bit_;
  const std::optional<PackedLayout> stored = stored_layout(format);
  if (!stored || wanted_ || suited.layout == *stored) {
    return suited;
  }
  const auto* reader = std::ranges::find(kernels_.ternary, *stored, &TernaryKernel::layout);
  return reader == std::end(kernels_.ternary) ? suited : *reader;
}

namespace {

bool pairs_are_equal(const std::vector<float>& scales) {
  for (size_t i = 0; i + 1 < scales.size(); i += 2) {
    if (scales[i] != scales[i + 1]) {
      return false;
    }
  }
  return true;
}

}  // namespace

ScaleGrid simplify_scales(std::vector<float> scales, int32_t rows, int32_t cols,
                          int32_t cols_per_scale) {
  auto groups = static_cast<size_t>(cols / cols_per_scale);
  if (std::all_of(scales.begin(), scales.end(), [&](float s) { return s == scales.front(); })) {
    return {{scales.front()}, rows, cols};
  }
  bool rows_are_uniform = true;
  for (size_t i = 0; i < scales.size() && rows_are_uniform; ++i) {
    rows_are_uniform = scales[i] == scales[i / groups * groups];
  }
  if (!rows_are_uniform) {
    // Kernels sum by kQ8SumBlock columns: narrower groups serve them where neighbours have the same scale.
    while (cols_per_scale < kQ8SumBlock && groups % 2 == 0 && pairs_are_equal(scales)) {
      for (size_t i = 0; i < scales.size() / 2; ++i) {
        scales[i] = scales[2 * i];
      }
      scales.resize(scales.size() / 2);
      groups /= 2;
      cols_per_scale *= 2;
    }
    return {std::move(scales), 1, cols_per_scale};
  }
  std::vector<float> per_row;
  for (size_t i = 0; i < scales.size(); i += groups) {
    per_row.push_back(scales[i]);
  }
  return {std::move(per_row), 1, cols};
}

}  // namespace tern
