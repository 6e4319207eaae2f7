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

// Thread sanitizer cannot see the synchronisation inside the OpenMP runtime and would report every region: builds for it
// use plain threads instead.
#if defined(__SANITIZE_THREAD__)
#define TERN_USE_STD_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TERN_USE_STD_THREADS 1
#endif
#endif
#ifdef TERN_USE_STD_THREADS
#include <thread>
#endif

namespace tern {

void parallel_for(int threads, int64_t count, int64_t grain,
                  FunctionRef<void(int64_t, int64_t, int)> body) {
  TERN_CHECK(threads >= 1 && grain >= 1, "parallel_for needs a thread and a grain");
  const int64_t grains = (count + grain - 1) / grain;
  const int used = static_cast<int>(std::min<int64_t>(threads, grains));
  if (used <= 1) {
    if (count > 0) {
      body(0, count, 0);
    }
    return;
  }
  const auto piece = [&](int thread) {
    const int64_t begin = grains * thread / used * grain;
    const int64_t end = std::min(grains * (thread + 1) / used * grain, count);
    body(begin, end, thread);
  };
#ifdef TERN_USE_STD_THREADS
  std::vector<std::thread> workers;
  for (int thread = 1; thread < used; ++thread) {
    workers.emplace_back(piece, thread);
  }
  piece(0);
  for (std::thread& worker : workers) {
    worker.join();
  }
#else
#pragma omp parallel for num_threads(used) schedule(static, 1)
  for (int thread = 0; thread < used; ++thread) {
    piece(thread);
  }
#endif
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

// CPUs' worth of time that control groups grant ("max 100000" or "150000 100000"); infinite if none limits it.
double cgroup_cpu_limit() {
  double least = std::numeric_limits<double>::infinity();
  for (const std::filesystem::path& group : cgroup_folders()) {
    double quota = 0;
    double period = 0;
    const std::string line = first_line(group / "cpu.max");
    if (std::sscanf(line.c_str(), "%lf %lf", &quota, &period) == 2 && period > 0) {
      least = std::min(least, quota / period);
    }
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

}  // namespace tern
