#pragma once
// Limits that containers and service managers set (Linux control groups, versions 1 and 2).

#include <filesystem>
#include <string_view>
#include <vector>

namespace tern {

// Folders of this process's control groups and of those around them, innermost first: every one's limits hold. Those of
// version 1 are of the hierarchy of `controller` ("cpu", "memory"). `self` names the groups ("0::/user.slice/app.scope" or
// "4:cpu,cpuacct:/app" in /proc/self/cgroup), `root` is where groups are mounted.
std::vector<std::filesystem::path> cgroup_folders(
    std::string_view controller, const std::filesystem::path& self = "/proc/self/cgroup",
    const std::filesystem::path& root = "/sys/fs/cgroup");

// How many CPUs' worth of time the group in `folder` may use, infinite if it has no limit: "150000 100000" in cpu.max, or
// cpu.cfs_quota_us and cpu.cfs_period_us.
double cgroup_cpus(const std::filesystem::path& folder);

}  // namespace tern
