#include "engine/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
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
namespace {

constexpr size_t kCacheLine = 64;
constexpr int kMaxThreads = 256;  // of a region; more than that many share the work of no matrix
constexpr int64_t kMaxPieces = 0xFFFF;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once value is no longer `old`. Steps of a token follow each other within microseconds, so a waiting thread spins
// first; if it has to wait longer, it lets others run, and then sleeps.
template <class T>
void wait_while(const std::atomic<T>& value, T old) {
  constexpr int kSpins = 1000;  // 10 to 40 microseconds
  constexpr int kYields = 100;
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) {
      return;
    }
    pause_briefly();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) {
      return;
    }
    ::sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
}

// The leader of a region and its workers. A job is a number of pieces, dealt out as one run per thread; whoever takes a piece
// from a run, by compare-and-swap, does it. Nobody waits for a worker that took nothing: one that sleeps, or that the system
// has put aside, costs the others nothing unless it holds a piece.
class Team {
 public:
  using Piece = FunctionRef<void(int64_t piece, int thread)>;

  explicit Team(int threads) : threads_(std::min(threads, kMaxThreads)) {}

  int threads() const { return threads_; }

  // By the leader: body(piece, thread) once for each piece in [0, pieces), on at most `threads` threads.
  void run(int threads, int64_t pieces, Piece body) {
    const int64_t used = std::min<int64_t>(std::min(threads, threads_), pieces);
    body_ = &body;
    left_.store(static_cast<int32_t>(pieces), std::memory_order_relaxed);
    used_.store(static_cast<int>(used), std::memory_order_relaxed);
    for (int64_t i = 0; i < used; ++i) {
      // Releases body_ and left_ to whoever takes a piece of this run.
      runs_[i].range.store(Range{pieces * i / used, pieces * (i + 1) / used}.packed(),
                           std::memory_order_release);
    }
    if (used > 1) {
      // Sequentially consistent, as every change that is notified: a notification looks for sleepers first, and that look
      // must not overtake the change.
      jobs_.fetch_add(1);
      jobs_.notify_all();
    }
    work(0);
    for (int32_t left = left_.load(std::memory_order_acquire); left != 0;
         left = left_.load(std::memory_order_acquire)) {
      wait_while(left_, left);
    }
  }

  // By a worker: takes part in jobs until close().
  void help(int thread) {
    uint32_t seen = 0;
    while (true) {
      wait_while(jobs_, seen);
      seen = jobs_.load(std::memory_order_acquire);
      if (seen == kClosed) {
        return;
      }
      if (thread < used_.load(std::memory_order_relaxed)) {
        work(thread);
      }
    }
  }

  // By the leader, after its last job.
  void close() {
    jobs_.store(kClosed);
    jobs_.notify_all();
  }

 private:
  static constexpr uint32_t kClosed = 0xFFFFFFFF;

  // Pieces [begin, end) that nobody has taken yet, in one word.
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;

    static Range of(uint32_t packed) { return {packed & 0xFFFF, packed >> 16}; }
    uint32_t packed() const { return static_cast<uint32_t>(begin | end << 16); }
    bool empty() const { return begin >= end; }
  };
  struct alignas(kCacheLine) Run {
    std::atomic<uint32_t> range = 0;
  };

  // A piece taken, or -1. Its owner walks a run from the front; others take from the back, so that it walks on undisturbed.
  // Whoever has a piece may read body_: the job cannot end before the piece is done.
  static int64_t take(std::atomic<uint32_t>& run, bool own) {
    uint32_t packed = run.load(std::memory_order_relaxed);
    while (true) {
      Range range = Range::of(packed);
      if (range.empty()) {
        return -1;
      }
      const int64_t piece = own ? range.begin++ : --range.end;
      if (run.compare_exchange_weak(packed, range.packed(), std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
        return piece;
      }
    }
  }

  // Does pieces until none is left to take: of its own run, then of the others'.
  void work(int thread) {
    int32_t done = 0;
    const int used = used_.load(std::memory_order_relaxed);
    for (int i = 0; i < used; ++i) {
      const int owner = (thread + i) % used;
      std::atomic<uint32_t>& run = runs_[owner].range;
      for (int64_t piece = take(run, owner == thread); piece >= 0;
           piece = take(run, owner == thread)) {
        (*body_)(piece, thread);
        ++done;
      }
    }
    if (done > 0 && left_.fetch_sub(done) == done && thread != 0) {
      left_.notify_one();
    }
  }

  const int threads_;
  // Together in the line that workers watch.
  alignas(kCacheLine) std::atomic<uint32_t> jobs_ = 0;  // begun so far, or kClosed
  std::atomic<int> used_ =
      0;  // threads of the job at hand; merely advice to a worker that comes late
  const Piece* body_ = nullptr;
  alignas(kCacheLine) std::atomic<int32_t> left_ = 0;  // pieces not done
  Run runs_[kMaxThreads];
};

// The region that the calling thread leads.
thread_local Team* t_team = nullptr;

void lead(Team& team, FunctionRef<void()> body) {
  t_team = &team;
  body();
  t_team = nullptr;
  team.close();
}

void run_pieces(int threads, int64_t pieces, Team::Piece body) {
  if (t_team != nullptr) {
    t_team->run(threads, pieces, body);
    return;
  }
  parallel_region(threads, [&] { t_team->run(threads, pieces, body); });
}

}  // namespace

void parallel_region(int threads, FunctionRef<void()> body) {
  TERN_CHECK(threads >= 1, "a parallel region needs a thread");
  if (threads == 1 || t_team != nullptr) {
    body();
    return;
  }
  Team team(threads);
#ifdef TERN_USE_STD_THREADS
  std::vector<std::thread> workers;
  for (int thread = 1; thread < team.threads(); ++thread) {
    workers.emplace_back([&team, thread] { team.help(thread); });
  }
  lead(team, body);
  for (std::thread& worker : workers) {
    worker.join();
  }
#else
  // The runtime may grant fewer threads than asked for: the pieces of those missing are taken by the others.
#pragma omp parallel for num_threads(team.threads()) schedule(static, 1)
  for (int thread = 0; thread < team.threads(); ++thread) {
    if (thread == 0) {
      lead(team, body);
    } else {
      team.help(thread);
    }
  }
#endif
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
  const int64_t pieces = std::min({int64_t{threads} * tiles_per_thread, grains, kMaxPieces});
  run_pieces(threads, pieces, [&](int64_t piece, int thread) {
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

int usable_cpu_count() {
  const auto cpus = static_cast<double>(std::max<size_t>(allowed_cpus().size(), 1));
  return std::max(1, static_cast<int>(std::ceil(std::min(cpus, cgroup_cpu_limit()))));
}

}  // namespace tern
