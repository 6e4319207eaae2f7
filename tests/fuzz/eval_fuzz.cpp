// Lines of benchmark files: the first byte picks the task.

#include <cstdlib>

#include "tools/eval_items.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern::cli;
  if (size == 0) {
    return 0;
  }
  const EvalTask task = eval_tasks()[data[0] % eval_tasks().size()];
  const auto item = read_eval_item(task, {reinterpret_cast<const char*>(data) + 1, size - 1});
  if (!item) {
    return 0;
  }
  const auto gold = static_cast<size_t>(item->gold);
  if (item->gold < 0 || gold >= item->requests.size() ||
      (task.normed && item->lengths.size() != item->requests.size())) {
    std::abort();
  }
  return 0;
}
