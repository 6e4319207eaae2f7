#pragma once
// Golden bytes of a weight format and the values they stand for; see tests/golden/make_formats.py.

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/gguf_writer.h"

namespace tern::testing {

struct GoldenFormat {
  uint32_t ggml_type = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  ByteVector data;
  std::vector<float> values;  // rows x cols
};

// `name` is the format's, in small letters: "q4_k". Throws if there is no such file.
GoldenFormat read_golden_format(const std::string& name);

}  // namespace tern::testing
