#include "tests/support/source_dir.h"

namespace tern::testing {

std::filesystem::path source_path(const std::filesystem::path& relative) {
  return std::filesystem::path(TERN_SOURCE_DIR) / relative;
}

}  // namespace tern::testing
