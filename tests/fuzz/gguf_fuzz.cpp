// Any bytes as a GGUF file: refused with a message, or read in full without a step outside.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/io/tensor_file.h"
#include "tests/support/memory_file.h"

namespace tern {
namespace {

// So that an optimizer cannot drop the reads.
volatile uint8_t sink = 0;

void read_tensor(const Tensor& tensor) {
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
    const bool good =
        format.unpack(tensor.data, rows, tensor.cols(), first, count, trits.data(), scales.data());
    if (good && !std::ranges::all_of(trits, [](int8_t trit) { return trit >= -1 && trit <= 1; })) {
      std::abort();  // a trit that is none, or a place never written
    }
  }
}

void read_all(const TensorFile& file) {
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

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const testing::MemoryFile memory(std::as_bytes(std::span(data, size)));
  for (const I2sLayout layout : {I2sLayout::k128, I2sLayout::kArm64, I2sLayout::k1x4}) {
    const auto file = TensorFile::open(memory.path(), {.i2s_layout = layout});
    if (file) {
      read_all(*file);
    } else if (file.error().message.size() < 10 || file.error().message.size() > 4096) {
      std::abort();  // an error without a reason, or with half the file in it
    }
  }
  return 0;
}
