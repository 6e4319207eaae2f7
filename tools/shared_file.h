#pragma once
// The files that come with Tern but are too large for the program itself.

#include <string>

#include "engine/base/result.h"

namespace tern::cli {

// Such a file. A program that lies in the build tree that it was built in takes `in_tree` of the repository; any other takes
// ../share/tern/`installed`, seen from its own folder, and looks nowhere else: a file that lies elsewhere above a program is
// not one that came with it.
Result<std::string> find_shared_file(const std::string& in_tree, const std::string& installed);

}  // namespace tern::cli
