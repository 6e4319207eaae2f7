#include "engine/base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "engine/base/cgroup.h"

namespace tern {
namespace {

// The number behind `name` in a file of names and numbers; 0 if there is none.
uint64_t value_in(const std::filesystem::path& path, const std::string& name) {
  std::ifstream in(path);
  std::string word;
  uint64_t value = 0;
  while (in >> word) {
    if (word == name && in >> value) {
      return value;
    }
  }
  return 0;
}

// Of a line "Name:   123 kB" of a /proc file, in bytes.
uint64_t proc_value(const char* path, const std::string& name) {
  return value_in(path, name) * 1024;
}

// A number alone in a file ("max" and missing files give 0).
uint64_t number_in(const std::filesystem::path& path) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : 0;
}

}  // namespace

uint64_t available_memory() {
  uint64_t available = proc_value("/proc/meminfo", "MemAvailable:");
  for (const std::filesystem::path& group : cgroup_folders("memory")) {
    available = std::min(available, memory_left(group).value_or(available));
  }
  return available;
}

std::optional<uint64_t> memory_left(const std::filesystem::path& cgroup) {
  // Version 2, or else 1, which says a number near 2^63 where there is no limit and counts children in other lines.
  constexpr uint64_t kNoLimit = uint64_t{1} << 62;
  uint64_t limit = number_in(cgroup / "memory.max");
  const bool old = limit == 0;
  if (old) {
    limit = number_in(cgroup / "memory.limit_in_bytes");
  }
  if (limit == 0 || limit >= kNoLimit) {
    return std::nullopt;
  }
  const std::string prefix = old ? "total_" : "";
  const std::filesystem::path stat = cgroup / "memory.stat";
  const uint64_t files =
      value_in(stat, prefix + "active_file") + value_in(stat, prefix + "inactive_file");
  const uint64_t current = number_in(cgroup / (old ? "memory.usage_in_bytes" : "memory.current"));
  return limit - std::min(current - std::min(files, current), limit);
}

std::optional<uint64_t> available_address_space() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::nullopt;
  }
  const uint64_t used = proc_value("/proc/self/status", "VmSize:");
  return limit.rlim_cur - std::min<uint64_t>(used, limit.rlim_cur);
}

uint64_t resident_memory() {
  return proc_value("/proc/self/status", "VmRSS:");
}

uint64_t peak_resident_memory() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", decimals, value, kUnits[unit]);
  return text;
}

}  // namespace tern
