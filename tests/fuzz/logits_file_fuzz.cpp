// Files of logits, as `tern perplexity --kl` reads them.

#include <cstdlib>

#include "tools/logits_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> file(data, size);
  const auto head = tern::cli::read_logits_head(std::as_bytes(file));
  if (!head) {
    return 0;
  }
  // Rows of an accepted head lie within the file: the quotients are those of numbers that do not overflow.
  const uint64_t row = static_cast<uint64_t>(head->vocab) * sizeof(float);
  if (head->rows() < 1 || row == 0 || static_cast<uint64_t>(head->rows()) > size / row) {
    std::abort();
  }
  return 0;
}
