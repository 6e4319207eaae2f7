#pragma once
// Reads everything that a model file offers, as a fuzzer does with a file that was not refused.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern::testing {

// So that an optimizer cannot drop the reads.
inline volatile uint8_t sink = 0;

inline void read_tensor(const Tensor& tensor) {
  uint8_t sum = 0;
  for (const std::byte byte : tensor.data) {
    sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  }
  sink = sum;
  const WeightFormat& format = *tensor.format;
  if (!format.ternary) {
    return;
  }
  // First and last row, and all of them: inputs are small, and the reader has bounded tensors by the input.
  const auto cols = static_cast<size_t>(tensor.cols());
  const int64_t rows = tensor.rows();
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1}, {rows - 1, 1}, {0, rows}}) {
    const auto unpacked = static_cast<size_t>(count) * cols;
    std::vector<int8_t> trits(unpacked, 99);
    std::vector<float> scales(unpacked / static_cast<size_t>(format.scale_width(tensor.cols())));
    const bool good = unpack_rows(tensor, format, first, count, trits.data(), scales.data());
    if (good && !std::ranges::all_of(trits, [](int8_t trit) { return trit >= -1 && trit <= 1; })) {
      std::abort();  // a trit that is none, or a place never written
    }
  }
}

inline void read_all(const TensorFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    (void)file.get_int(key);
    (void)file.get_float(key);
    (void)file.get_bool(key);
    (void)file.get_array<int64_t>(key);
    if (const auto text = file.get_string(key); text && *text) {
      sink = static_cast<uint8_t>(printable(**text).size());
    }
    if (const auto texts = file.get_array<std::string_view>(key); texts && *texts != nullptr) {
      for (const std::string_view text : **texts) {
        sink = static_cast<uint8_t>(printable(text).size());
      }
    }
  }
  for (const Tensor& tensor : file.tensors()) {
    if (file.find(tensor.name) != &tensor) {
      std::abort();
    }
    read_tensor(tensor);
  }
}

// An error says why, and not with half the file in it.
inline void check_message(const Error& error) {
  if (error.message.size() < 10 || error.message.size() > 4096) {
    std::abort();
  }
}

}  // namespace tern::testing
