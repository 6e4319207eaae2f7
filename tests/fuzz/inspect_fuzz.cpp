// Any bytes as a model file to be described: its configuration and memory plan are worked out from hostile numbers.

#include <cstdint>
#include <cstdlib>

#include "engine/base/printable.h"
#include "kernels/select.h"
#include "tests/support/memory_file.h"
#include "tools/inspect_report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const testing::MemoryFile memory(std::as_bytes(std::span(data, size)));
  const auto file = TensorFile::open(memory.path());
  if (!file) {
    return 0;
  }
  for (const bool json : {false, true}) {
    const std::string report = cli::inspect_report(
        *file,
        {.json = json, .kernels = &best_table(), .threads = 2, .available = uint64_t{16} << 30});
    // JSON writes controls of C0 as escapes; in the report for people nothing is left that a terminal obeys.
    if (report.find('\x1B') != std::string::npos || (!json && report != printable_lines(report))) {
      std::abort();
    }
  }
  return 0;
}
