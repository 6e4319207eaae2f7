#pragma once
// Where the repository lies: for golden files and models that tests read.

#include <filesystem>

namespace tern::testing {

// A path given relative to the root of the repository.
std::filesystem::path source_path(const std::filesystem::path& relative);

}  // namespace tern::testing
