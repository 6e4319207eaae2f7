#include "tools/shared_file.h"

#include <algorithm>
#include <filesystem>

namespace tern::cli {
namespace {

// Whether `path` lies in `folder` or below.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

}  // namespace

Result<std::string> find_shared_file(const std::string& in_tree, const std::string& installed) {
  std::error_code error;
  const std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path build = std::filesystem::weakly_canonical(TERN_BINARY_DIR, error);
  const std::filesystem::path file =
      lies_in(executable, build)
          ? std::filesystem::path(TERN_SOURCE_DIR) / in_tree
          : executable.parent_path().parent_path() / "share" / "tern" / installed;
  if (!error && std::filesystem::exists(file, error)) {
    return file.string();
  }
  return Error{file.string() + ", which comes with Tern, is not there: install it again."};
}

}  // namespace tern::cli
