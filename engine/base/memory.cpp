#include "engine/base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace tern {
namespace {

// The value of a line "Name:   123 kB" of a /proc file, in bytes; 0 if there is none.
uint64_t proc_value(const char* path, const std::string& name) {
  std::ifstream in(path);
  std::string word;
  uint64_t kilobytes = 0;
  while (in >> word) {
    if (word == name && in >> kilobytes) {
      return kilobytes * 1024;
    }
  }
  return 0;
}

// A number alone in a file ("max" and missing files give 0).
uint64_t number_in(const char* path) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : 0;
}

}  // namespace

uint64_t available_memory() {
  const uint64_t system = proc_value("/proc/meminfo", "MemAvailable:");
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  if (limit == 0) {
    return system;
  }
  const uint64_t used = std::min(number_in("/sys/fs/cgroup/memory.current"), limit);
  return std::min(system, limit - used);
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
