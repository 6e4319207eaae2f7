// Any bytes as a GGUF file: refused with a message, or read in full without a step outside.

#include "tests/fuzz/read_model_file.h"
#include "tests/support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const testing::MemoryFile memory(std::as_bytes(std::span(data, size)));
  for (const I2sLayout layout : {I2sLayout::k128, I2sLayout::kArm64, I2sLayout::k1x4}) {
    const auto file = TensorFile::open(memory.path(), {.i2s_layout = layout});
    if (file) {
      testing::read_all(*file);
    } else {
      testing::check_message(file.error());
    }
  }
  return 0;
}
