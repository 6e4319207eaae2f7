#include "engine/base/cgroup.h"

#include <fstream>
#include <string>

namespace tern {

std::vector<std::filesystem::path> cgroup_folders(const std::filesystem::path& self,
                                                  const std::filesystem::path& root) {
  std::vector<std::filesystem::path> folders;
  std::ifstream in(self);
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with("0::/")) {
      continue;  // a version 1 hierarchy
    }
    std::filesystem::path group = line.substr(4);
    for (; !group.empty(); group = group.parent_path()) {
      folders.push_back(root / group);
    }
  }
  folders.push_back(root);
  return folders;
}

}  // namespace tern
