#include "engine/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "engine/base/cgroup.h"
#include "engine/base/check.h"
#include "engine/base/team.h"

namespace tern {
namespace {

// The region that the calling thread leads: how many threads it has at most, or 0.
thread_local int t_region = 0;

// Each thread that computes has helpers of its own, for as long as it lives.
Team& team_of_this_thread() {
  thread_local Team team;
  return team;
}

}  // namespace

void parallel_region(int threads, FunctionRef<void()> body) {
  TERN_CHECK(threads >= 1, "a parallel region needs a thread");
  if (threads == 1 || t_region != 0) {
    body();
    return;
  }
  team_of_this_thread().grow(threads);
  t_region = threads;
  body();
  t_region = 0;
}

void parallel_tiles(int threads, int tiles_per_thread, int64_t count, int64_t grain,
                    FunctionRef<void(int64_t, int64_t, int)> body) {
  TERN_CHECK(threads >= 1 && tiles_per_thread >= 1 && grain >= 1,
             "parallel_tiles needs a thread, a tile and a grain");
  const int64_t grains = (count + grain - 1) / grain;
  if (std::min<int64_t>(threads, grains) <= 1) {
    if (count > 0) {
      body(0, count, 0);
    }
    return;
  }
  if (t_region != 0) {
    threads = std::min(threads, t_region);
  } else {
    team_of_this_thread().grow(threads);
  }
  const int64_t pieces = std::min({int64_t{threads} * tiles_per_thread, grains, Team::kMostPieces});
  Team& team = team_of_this_thread();
  if (team.present(static_cast<int>(std::min<int64_t>(threads, pieces))) == 1) {
    body(0, count, 0);
    return;
  }
  team.run(threads, pieces, [&](int64_t piece, int thread) {
    const int64_t begin = grains * piece / pieces * grain;
    const int64_t end = std::min(grains * (piece + 1) / pieces * grain, count);
    body(begin, end, thread);
  });
}

void parallel_for(int threads, int64_t count, int64_t grain,
                  FunctionRef<void(int64_t, int64_t, int)> body) {
  parallel_tiles(threads, 1, count, grain, body);
}

namespace {

// First line of a small system file; empty if it cannot be read.
std::string first_line(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<size_t>(cpu), &set)) {
        cpus.push_back(cpu);
      }
    }
  }
  return cpus;
}

// Hybrid CPUs list their performance cores in /sys/devices/cpu_core/cpus ("0-15"); others lack the file.
std::set<int> performance_cpus() {
  std::set<int> cpus;
  std::string list = first_line("/sys/devices/cpu_core/cpus");
  size_t at = 0;
  while (at < list.size()) {
    const size_t comma = std::min(list.find(',', at), list.size());
    int first = 0;
    int last = 0;
    const std::string range = list.substr(at, comma - at);
    const int parts = std::sscanf(range.c_str(), "%d-%d", &first, &last);
    for (int cpu = first; parts >= 1 && cpu <= (parts == 2 ? last : first); ++cpu) {
      cpus.insert(cpu);
    }
    at = comma + 1;
  }
  return cpus;
}

// CPUs' worth of time that control groups grant; infinite if none limits it.
double cgroup_cpu_limit() {
  double least = std::numeric_limits<double>::infinity();
  for (const std::filesystem::path& group : cgroup_folders("cpu")) {
    least = std::min(least, cgroup_cpus(group));
  }
  return least;
}

}  // namespace

int default_thread_count() {
  const std::vector<int> allowed = allowed_cpus();
  const std::set<int> performance = performance_cpus();
  std::set<std::string> cores;  // one entry per physical core: its list of hardware threads
  for (const int cpu : allowed) {
    if (!performance.empty() && !performance.contains(cpu)) {
      continue;
    }
    const std::string siblings = first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                            "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  // A process pinned to efficiency cores alone still runs on what it was given.
  auto count = static_cast<int>(cores.empty() ? allowed.size() : cores.size());
  count = static_cast<int>(std::ceil(std::min<double>(count, cgroup_cpu_limit())));
  return std::max(count, 1);
}

int usable_cpu_count() {
  const auto cpus = static_cast<double>(std::max<size_t>(allowed_cpus().size(), 1));
  return std::max(1, static_cast<int>(std::ceil(std::min(cpus, cgroup_cpu_limit()))));
}

}  // namespace tern
