#pragma once
// Files that decide where prompts and keys go.

#include <filesystem>
#include <string>

#include "engine/base/result.h"

namespace tern {

// Reads a small text file that only its user can have written: the user or root owns it, and no other user may write it. A
// group may that has no other member, as the groups are that many systems make for each user. Errors name the path.
Result<std::string> read_own_text_file(const std::filesystem::path& path, size_t limit);

}  // namespace tern
