#pragma once
// Does every kernel table that this CPU can run compute what the reference defines? For `tern doctor`: a broken processor,
// emulator or compiler shows here rather than as strange text.

#include <string>
#include <vector>

namespace tern {

struct SelfTestResult {
  std::string table;
  bool passed = false;
  int checks = 0;       // values compared
  std::string failure;  // the first difference: operation, shape, expected, found
};

// One result for each table that runs here, best first. Ternary products, quantisation, decoding of dense weights and halves
// are compared bit for bit, on fixed seeds and on extreme fills; float sums within their rounding error. Under a second.
std::vector<SelfTestResult> run_self_test();

}  // namespace tern
