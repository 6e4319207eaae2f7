#pragma once
// The shared data folder: larger files for tests, not part of the repository. Tests that need it
// skip where it is absent.

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/support/source_dir.h"

namespace tern::testing {

// $TERN_DATA_DIR, else ../shared/data beside the repository; nothing if `needed` (relative to it)
// is not there.
inline std::optional<std::filesystem::path> data_file(const std::filesystem::path& needed) {
  const char* set = std::getenv("TERN_DATA_DIR");
  const std::filesystem::path root =
      set != nullptr ? std::filesystem::path(set) : source_path("../shared/data");
  std::error_code error;
  const auto path = root / needed;
  return std::filesystem::exists(path, error) ? std::optional(path) : std::nullopt;
}

}  // namespace tern::testing

// At the top of a test: std::filesystem::path `name`, or the test is skipped with a message that
// says what is missing.
#define TERN_NEEDS_DATA(name, relative)                                                  \
  const auto name##_found = ::tern::testing::data_file(relative);                        \
  if (!name##_found) {                                                                   \
    GTEST_SKIP() << "needs " << (relative) << " of the data folder (set TERN_DATA_DIR)"; \
  }                                                                                      \
  const std::filesystem::path name = *name##_found
