#pragma once
// Limits that containers and service managers set (Linux control groups, version 2).

#include <filesystem>
#include <vector>

namespace tern {

// Folders of this process's control group and of those around it, innermost first: every one's limits hold. `self` names the
// group ("0::/user.slice/app.scope" in /proc/self/cgroup), `root` is where groups are mounted.
std::vector<std::filesystem::path> cgroup_folders(
    const std::filesystem::path& self = "/proc/self/cgroup",
    const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace tern
