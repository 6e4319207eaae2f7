#include "engine/base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace tern {
namespace {

// `group` and those around it, as folders below `mount`.
void append_folders(std::filesystem::path group, const std::filesystem::path& mount,
                    std::vector<std::filesystem::path>& folders) {
  for (; !group.empty(); group = group.parent_path()) {
    folders.push_back(mount / group);
  }
}

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t comma = std::min(names.find(','), names.size());
    if (names.substr(0, comma) == name) {
      return true;
    }
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return false;
}

// Numbers at the beginning of a file; false if they are not there ("max").
bool read_numbers(const std::filesystem::path& path, double& first, double* second = nullptr) {
  std::ifstream in(path);
  return in >> first && (second == nullptr || in >> *second);
}

}  // namespace

std::vector<std::filesystem::path> cgroup_folders(std::string_view controller,
                                                  const std::filesystem::path& self,
                                                  const std::filesystem::path& root) {
  std::vector<std::filesystem::path> folders;
  std::filesystem::path mount;  // of version 1
  std::ifstream in(self);
  std::string line;
  while (std::getline(in, line)) {
    const size_t names = line.find(':');
    const size_t path = names == std::string::npos ? names : line.find(":/", names + 1);
    if (path == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(names + 1, path - names - 1);
    const std::string group = line.substr(path + 2);
    if (controllers.empty()) {
      append_folders(group, root, folders);
    } else if (lists(controllers, controller)) {
      mount = root / controllers;
      append_folders(group, mount, folders);
    }
  }
  folders.push_back(root);
  // Seen from inside a container its group is the root of what is mounted, whatever its name outside.
  if (!mount.empty()) {
    folders.push_back(mount);
  }
  return folders;
}

double cgroup_cpus(const std::filesystem::path& folder) {
  double quota = 0;
  double period = 0;
  const bool limited = read_numbers(folder / "cpu.max", quota, &period) ||
                       (read_numbers(folder / "cpu.cfs_quota_us", quota) &&
                        read_numbers(folder / "cpu.cfs_period_us", period));
  return limited && quota > 0 && period > 0 ? quota / period
                                            : std::numeric_limits<double>::infinity();
}

}  // namespace tern
