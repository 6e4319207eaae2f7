#include "engine/io/gguf_packed.h"

#include <algorithm>

#include "engine/io/formats.h"

namespace tern::gguf {
namespace {

constexpr const char* kConvertAgain =
    "Convert the model again from the file that this one was made of (tern convert --type tern).";
// Kernels sum so many columns at once.
constexpr int64_t kSumBlock = 64;

const int64_t* find_integer(const Metadata& keys, std::string_view key) {
  const auto found = keys.find(key);
  return found == keys.end() ? nullptr : std::get_if<int64_t>(&found->second);
}

Result<void> check_version(const Metadata& keys) {
  const int64_t* version = find_integer(keys, "tern.packed.version");
  if (version != nullptr && *version == kPackedVersion) {
    return {};
  }
  return Error{"key tern.packed.version: expected " + std::to_string(kPackedVersion) + ", found " +
               (version == nullptr ? "none" : std::to_string(*version)) +
               ": the weights were packed by another version of Tern. " + kConvertAgain};
}

std::string tile_text(int64_t rows, int64_t cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

}  // namespace

bool is_packed_type(uint32_t type) {
  return type >= formats::kPackedType && type <= formats::kSplitHeadType;
}

Result<const WeightFormat*> packed_format(uint32_t type, const Metadata& keys) {
  RETURN_IF_ERROR(check_version(keys));
  if (type == formats::kSplitHeadType) {
    return &formats::kSplitHead;
  }
  const std::string key =
      "tern.packed." + std::string(kStoredPackingNames[type - formats::kPackedType]);
  const auto found = keys.find(key);
  const auto* array = found == keys.end() ? nullptr : std::get_if<MetaArray>(&found->second);
  const auto* tile = array == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(array);
  if (tile == nullptr || tile->size() != 2) {
    return Error{"key " + key + ": expected two integers, rows and columns of a tile, found " +
                 (found == keys.end() ? "no such key" : "something else") + ". " + kConvertAgain};
  }
  std::string known;
  for (const WeightFormat* format : formats::packed_formats(type)) {
    if (format->tiles.rows == (*tile)[0] && format->tiles.cols == (*tile)[1]) {
      return format;
    }
    known += (known.empty() ? "" : ", ") + tile_text(format->tiles.rows, format->tiles.cols);
  }
  return Error{"key " + key + ": expected a tile that Tern knows (" + known + "), found " +
               tile_text((*tile)[0], (*tile)[1]) + ". " + kConvertAgain};
}

Result<void> check_packed_alignment(const Part& part) {
  const bool any = std::ranges::any_of(
      part.index, [](const IndexEntry& entry) { return is_packed_type(entry.type); });
  if (any && part.alignment % kPackedAlignment != 0) {
    return Error{"key general.alignment: expected a multiple of " +
                 std::to_string(kPackedAlignment) +
                 ", from which kernels read packed weights, found " +
                 std::to_string(part.alignment) + ". " + kConvertAgain};
  }
  return {};
}

Result<int32_t> packed_scale_columns(const Tensor& matrix, const Tensor* scales) {
  const std::string name = "tensor " + printable(matrix.name) + ".scales";
  if (scales == nullptr) {
    return Error{name + ": expected the scales of a packed matrix, found no such tensor. " +
                 kConvertAgain};
  }
  if (scales->format == &formats::kF32 && scales->shape.size() == 1 && scales->count() == 1) {
    return 0;
  }
  const int64_t groups = scales->cols();
  const int64_t width = matrix.cols() / groups;
  const bool fits = scales->format == &formats::kF32 && scales->rows() == matrix.rows() &&
                    scales->shape.size() == 2 && width * groups == matrix.cols();
  if (!fits || (groups > 1 && width % kSumBlock != 0)) {
    return Error{name + ": expected one F32, or " + std::to_string(matrix.rows()) +
                 " rows of one for each " + std::to_string(kSumBlock) + " N of the " +
                 std::to_string(matrix.cols()) + " columns, found " +
                 tile_text(scales->rows(), groups) + " " + std::string(scales->format->name) +
                 ". " + kConvertAgain};
  }
  return groups == 1 ? WeightFormat::kWholeRow : static_cast<int32_t>(width);
}

}  // namespace tern::gguf
