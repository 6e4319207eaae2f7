#pragma once
// A thread that computes and those that stand by to help it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/late_workers.h"
#include "engine/base/parallel.h"

namespace tern {

// The leader is the thread that calls; the others are workers, started when first wanted and kept. A job is a number of
// pieces, laid out as one run per thread. Whoever takes a piece from a run, by compare-and-swap, does it: its own run first,
// then what is left of the others'. The leader waits for pieces that a worker has begun and for nothing else: a worker that
// sleeps, that the system has taken off its core, or that could not even be started costs the others nothing. Workers that
// keep the leader waiting are left out for a while (LateWorkers).
class Team {
 public:
  using Piece = FunctionRef<void(int64_t piece, int thread)>;

  static constexpr int kMostThreads = 256;  // more than that many share the work of no matrix
  static constexpr int64_t kMostPieces = 0xFFFF;

  // `leaves_out`: whether workers that come late are left out for a while.
  explicit Team(bool leaves_out = true);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  // All of these by the leader.
  // Starts workers for `threads` threads in all, or as many as the system grants.
  void grow(int threads);
  // How many of `threads` threads would share a job now.
  int present(int threads);
  // body(piece, thread) once for each piece in [0, pieces), on at most `threads` threads; `thread` is less than that. Results
  // of body are seen by the caller, and what the caller wrote is seen by body.
  void run(int threads, int64_t pieces, Piece body);

 private:
  static constexpr size_t kCacheLine = 64;
  static constexpr uint32_t kClosed = 0xFFFFFFFF;
  static constexpr int32_t kLeftOut = -1;

  // Pieces [begin, end) of a job that nobody has taken yet, in one word. The number of the job keeps a worker that was held
  // up since an earlier job from taking a piece of this one.
  struct Range {
    uint32_t job = 0;
    int64_t begin = 0;
    int64_t end = 0;

    static Range of(uint64_t packed);
    uint64_t packed() const;
  };
  struct alignas(kCacheLine) Run {
    std::atomic<uint64_t> range = 0;
  };
  struct alignas(kCacheLine) Worker {
    std::atomic<int32_t> place = kLeftOut;  // the run that it begins with
    std::atomic<uint32_t> asleep = 0;       // a futex: waits while this is 1
    // What it writes with every job stands apart from what the leader reads with every job.
    alignas(kCacheLine) std::atomic<bool> holding = false;  // has begun a piece
    std::atomic<int32_t> pieces = 0;                        // that it did in its last job
    std::atomic<double> finished = 0;  // when that ended, if the leader waited for it
  };
  // How long a worker has looked for a job without finding one.
  struct Idle {
    int32_t looks = 0;   // so often
    double until = 0;    // when it goes to sleep; 0: not known yet
    bool stays = false;  // it has no other core than the leader's
  };

  int invite(int threads, double now);
  void look_around(double now);
  void post(int64_t first, int64_t pieces, int used, const Piece& body);
  void run_crowded(int64_t pieces, int used, const Piece& body);
  Worker& worker(int thread) { return workers_[static_cast<size_t>(thread)]; }
  int hired() const { return static_cast<int>(threads_.size()) + 1; }
  static void wake(Worker& worker);
  int32_t work(uint32_t job, int thread, int place);
  bool all_done() const { return left_.load(std::memory_order_acquire) == 0; }
  double wait_for_held();
  void lost(double now, double seconds);
  void help(int thread);
  bool look_out(uint32_t seen, Idle& idle);
  void keep_off_leader(Idle& idle);
  void sleep(Worker& worker, uint32_t& seen);
  static int64_t take(std::atomic<uint64_t>& run, uint32_t job, bool own);

  // Of the leader alone.
  const bool leaves_out_;
  const int process_;  // a child after fork() has no workers
  int most_threads_ = kMostThreads;
  uint32_t job_ = 0;
  int invited_for_ = 0;    // the number of threads for which workers have their places
  int invited_count_ = 1;  // threads that have one, the leader included
  bool watching_ = false;  // some worker is left out, or the machine is crowded
  LateWorkers late_;
  std::vector<int> holders_;
  std::vector<std::thread> threads_;
  struct Glance {
    double time = 0;
    double busy = 0;     // seconds that the leader had a core
    long preempted = 0;  // how often it was taken off one
    long slept = 0;      // how often it gave one up
    long waits = 0;      // of these, since the glance, for workers,
    double waited = 0;   // and for how long
    bool alone = true;   // since the glance
  } glance_;
  double shared_end_ = 0;   // of the last job that the leader shared on a crowded machine
  double shared_busy_ = 0;  // and how long it had had a core until then
  double alone_share_ = 1;  // of a core, that the leader has without its workers

  // Together in the line that workers watch.
  alignas(kCacheLine) std::atomic<uint32_t> jobs_ = 0;  // number of the latest job, or kClosed
  std::atomic<int> runs_used_ = 0;
  std::atomic<int32_t> spin_ns_ = 0;  // how long an idle worker looks for a job before it sleeps
  std::atomic<int> leader_cpu_ = -1;
  const Piece* body_ = nullptr;
  alignas(kCacheLine) std::atomic<int32_t> left_ = 0;  // pieces not done; a futex
  std::atomic<uint32_t> leader_waits_ = 0;
  std::unique_ptr<Run[]> runs_;
  std::unique_ptr<Worker[]> workers_;
};

}  // namespace tern
