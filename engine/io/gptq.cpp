#include "engine/io/gptq.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/base/half.h"
#include "engine/io/tensor_file.h"

namespace tern::gptq {
namespace {

using safetensors::Entry;

constexpr int64_t kWordBits = 32;
// So many rows are walked together: their lines stay in the cache while a word's codes go to each.
constexpr int64_t kRowTile = 32;

std::string shape_text(const std::vector<int64_t>& shape, const std::string& dtype) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text + " " + dtype;
}

Error wrong(const Entry& entry, const std::string& expected, const std::string& found) {
  return Error{"tensor " + printable(entry.name) + ": expected " + expected + ", found " + found +
               "; the file is damaged or was not written by GPTQ."};
}

Result<void> require_shape(const Entry& entry, int64_t rows, int64_t cols, const char* why) {
  const std::vector<int64_t> shape{rows, cols};
  if (entry.dtype != "I32" || entry.shape != shape) {
    return wrong(entry, shape_text(shape, "I32") + why, shape_text(entry.shape, entry.dtype));
  }
  return {};
}

std::vector<uint32_t> words_of(const Entry& entry) {
  std::vector<uint32_t> words(static_cast<size_t>(entry.count));
  std::memcpy(words.data(), entry.data.data(), entry.data.size());
  return words;
}

// Code `index` of a stream of codes whose word w is at words[w * stride]. Codes of 3 bits may begin in one word and end in the next.
uint32_t code_at(const uint32_t* words, int64_t stride, int64_t index, int64_t bits) {
  const int64_t first_bit = index * bits;
  const int64_t word = first_bit / kWordBits;
  const int64_t shift = first_bit % kWordBits;
  uint64_t both = words[word * stride];
  if (shift + bits > kWordBits) {
    both |= uint64_t{words[(word + 1) * stride]} << static_cast<unsigned>(kWordBits);
  }
  return static_cast<uint32_t>(both >> static_cast<unsigned>(shift)) &
         ((1U << static_cast<unsigned>(bits)) - 1U);
}

// Scales and zeros of all groups, group by group.
struct Groups {
  int64_t count = 0;
  std::vector<float> scales, zeros;
};

Result<Groups> read_groups(const Parts& parts, const Matrix& matrix) {
  const Entry& entry = *parts.scales;
  if (entry.shape.size() != 2 || entry.shape[1] != matrix.rows || entry.shape[0] < 1) {
    return wrong(entry, "one scale for each of " + std::to_string(matrix.rows) + " rows and group",
                 shape_text(entry.shape, entry.dtype));
  }
  Groups out;
  out.count = entry.shape[0];
  Result<std::vector<float>> scales = safetensors::numbers(entry);
  if (!scales) {
    return scales.error().in("tensor " + printable(entry.name));
  }
  out.scales = std::move(*scales);
  RETURN_IF_ERROR(require_shape(*parts.qzeros, out.count, matrix.rows * matrix.bits / kWordBits,
                                ", for the zeros of each group"));
  const std::vector<uint32_t> words = words_of(*parts.qzeros);
  const uint32_t mask = (1U << static_cast<unsigned>(matrix.bits)) - 1U;
  for (int64_t group = 0; group < out.count; ++group) {
    const uint32_t* stream = words.data() + group * parts.qzeros->shape[1];
    for (int64_t row = 0; row < matrix.rows; ++row) {
      const uint32_t stored = code_at(stream, 1, row, matrix.bits);
      // A zero of 0 became the largest code, from which adding one leads back.
      out.zeros.push_back(static_cast<float>(parts.zeros_less_one ? (stored + 1U) & mask : stored));
    }
  }
  return out;
}

// The width of a code follows from the shapes: config.json may name another for each layer.
Result<Matrix> read_shape(const Parts& parts) {
  const Entry& codes = *parts.qweight;
  const Entry& groups = *parts.g_idx;
  if (groups.dtype != "I32" || groups.shape.size() != 1 || groups.count < 1) {
    return wrong(groups, "the group of each column as I32", shape_text(groups.shape, groups.dtype));
  }
  if (codes.dtype != "I32" || codes.shape.size() != 2 || codes.count < 1) {
    return wrong(codes, "a matrix of I32", shape_text(codes.shape, codes.dtype));
  }
  Matrix out;
  out.rows = codes.shape[1];
  out.cols = groups.count;
  out.bits = codes.shape[0] * kWordBits / out.cols;
  const bool known = out.bits == 2 || out.bits == 3 || out.bits == 4 || out.bits == 8;
  if (!known || out.bits * out.cols != codes.shape[0] * kWordBits) {
    return wrong(codes, std::to_string(out.cols) + " codes of 2, 3, 4 or 8 bits in each row",
                 shape_text(codes.shape, codes.dtype));
  }
  if (out.rows * out.bits % kWordBits != 0) {
    return wrong(codes, "rows whose zeros fill whole words", std::to_string(out.rows) + " rows");
  }
  return out;
}

}  // namespace

Result<Matrix> dequantise(const Parts& parts) {
  ASSIGN_OR_RETURN(Matrix out, read_shape(parts));
  ASSIGN_OR_RETURN(const Groups groups, read_groups(parts, out));
  const std::vector<uint32_t> group_of = words_of(*parts.g_idx);
  if (!std::ranges::all_of(group_of, [&](uint32_t g) { return std::cmp_less(g, groups.count); })) {
    return wrong(*parts.g_idx, "groups below " + std::to_string(groups.count), "others");
  }
  const std::vector<uint32_t> words = words_of(*parts.qweight);
  out.halves.resize(static_cast<size_t>(out.rows * out.cols));
  bool finite = true;
  for (int64_t tile = 0; tile < out.rows; tile += kRowTile) {
    const int64_t end = std::min(tile + kRowTile, out.rows);
    for (int64_t col = 0; col < out.cols; ++col) {
      const int64_t group = int64_t{group_of[static_cast<size_t>(col)]} * out.rows;
      for (int64_t row = tile; row < end; ++row) {
        const uint32_t code = code_at(words.data() + row, out.rows, col, out.bits);
        const auto at = static_cast<size_t>(group + row);
        const uint16_t half =
            float_to_half(groups.scales[at] * (static_cast<float>(code) - groups.zeros[at]));
        finite &= (half & 0x7C00U) != 0x7C00U;
        out.halves[static_cast<size_t>(row * out.cols + col)] = half;
      }
    }
  }
  if (!finite) {
    return wrong(*parts.scales, "scales of weights within the range of half precision", "others");
  }
  return out;
}

}  // namespace tern::gptq
