#include "engine/base/team.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "engine/base/clock.h"

namespace tern {
namespace {

// Steps of a token follow each other within microseconds, tokens within a fraction of a millisecond. To be woken takes a
// worker 5 to 50 microseconds; and a virtual machine whose other core is halted often wakes it on the leader's core, from
// where it comes away milliseconds later. So workers look out for long. On a crowded machine they would take the time from
// those for whom they wait, and sleep as soon as they have seen the gap between two steps pass.
constexpr int32_t kQuietSpin = 3'000'000;  // nanoseconds
constexpr int32_t kCrowdedSpin = 50'000;
// On a crowded machine the leader does a step alone for so long before it shares what is left: short steps are not worth what
// the others may cost.
constexpr double kAlone = 50e-6;
// The last pieces of a step end within a fraction of a piece of each other. A wait of more than this is not of that kind, and
// a leader that sleeps gives its core to a worker that has lost its own.
constexpr double kLeaderSpin = 30e-6;
// A wait is for a worker that was taken off its core if it is as long as a turn of the scheduler may be, and long beside the
// step itself.
constexpr double kLateSeconds = 500e-6;
constexpr double kLateShare = 0.25;
// Of the time between two glances: a leader that is off its core for more shares it.
constexpr double kStolenShare = 0.25;
// Jobs of one computation follow each other sooner than this.
constexpr double kLongestGap = 50e-3;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `done` says so, for at most `seconds`. Returns whether it did.
template <class Done>
bool spin(double seconds, const Done& done) {
  constexpr int kLooksPerClock = 32;
  double end = 0;
  while (true) {
    for (int i = 0; i < kLooksPerClock; ++i) {
      if (done()) {
        return true;
      }
      pause_briefly();
    }
    const double now = steady_seconds();
    if (end == 0) {
      end = now + seconds;
    } else if (now >= end) {
      return false;
    }
  }
}

template <class T>
void sleep_while(std::atomic<T>& word, T value) {
  static_assert(sizeof(word) == 4 && std::atomic<T>::is_always_lock_free);
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

template <class T>
void wake_sleeper(std::atomic<T>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// Of steady_seconds, to the tick of the system's timer, at a fraction of its cost.
double coarse_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Takes the calling thread off a core, if it may use another; false if not.
bool leave_cpu(int cpu) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) {
    return false;
  }
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<size_t>(cpu), &others);
  const bool left = ::sched_setaffinity(0, sizeof others, &others) == 0;
  return ::sched_setaffinity(0, sizeof allowed, &allowed) == 0 && left;
}

}  // namespace

Team::Range Team::Range::of(uint64_t packed) {
  return {static_cast<uint32_t>(packed >> 32), static_cast<int64_t>(packed & 0xFFFF),
          static_cast<int64_t>(packed >> 16 & 0xFFFF)};
}

uint64_t Team::Range::packed() const {
  return uint64_t{job} << 32 | static_cast<uint64_t>(end) << 16 | static_cast<uint64_t>(begin);
}

Team::Team(bool leaves_out)
    : leaves_out_(leaves_out),
      process_(::getpid()),
      spin_ns_(kQuietSpin),
      runs_(std::make_unique<Run[]>(kMostThreads)),
      workers_(std::make_unique<Worker[]>(kMostThreads)) {}

Team::~Team() {
  if (::getpid() != process_) {
    for (std::thread& thread : threads_) {
      thread.detach();  // there is nothing to wait for: they stayed with the parent
    }
    return;
  }
  jobs_.store(kClosed);
  for (int thread = 1; thread < hired(); ++thread) {
    wake(worker(thread));
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void Team::grow(int threads) {
  threads = std::min(threads, most_threads_);
  leader_cpu_.store(::sched_getcpu(), std::memory_order_relaxed);
  for (int next = hired(); next < threads; ++next) {
    try {
      threads_.emplace_back([this, next] { help(next); });
    } catch (const std::system_error&) {
      most_threads_ = next;  // a limit on processes: the others do the work
      return;
    }
    invited_for_ = 0;
  }
}

int Team::present(int threads) {
  threads = std::clamp(threads, 1, hired());
  const double now = coarse_seconds();
  if (now != glance_.time) {
    look_around(now);
  }
  const int count = watching_ || threads != invited_for_ ? invite(threads, now) : invited_count_;
  glance_.alone = glance_.alone && count == 1;
  return count;
}

// Once a tick: does the leader have its core for itself? Its own workers may take it, without ever being late.
void Team::look_around(double now) {
  constexpr double kWeight = 0.1;
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const Glance before = glance_;
  glance_ = {now, thread_seconds(), usage.ru_nivcsw, usage.ru_nvcsw, 0, 0, true};
  const double passed = now - before.time - before.waited;
  // Who slept for other reasons than a worker's piece was not kept from computing.
  if (passed <= 0 || passed > kLongestGap || glance_.slept - before.slept > before.waits) {
    return;
  }
  const double share = std::clamp((glance_.busy - before.busy) / passed, 0.25, 1.0);
  if (before.alone) {
    alone_share_ += kWeight * (share - alone_share_);
  } else if (!watching_ && glance_.preempted > before.preempted && share < 1 - kStolenShare) {
    lost(now, passed * (1 - share));
  }
}

// Gives places to the workers that take part in jobs of this many threads. Returns how many threads that are.
int Team::invite(int threads, double now) {
  int count = 1;
  for (int thread = 1; thread < hired(); ++thread) {
    const bool in = thread < threads && (!watching_ || late_.takes_part(thread, now));
    const int32_t place = in ? count++ : kLeftOut;
    if (worker(thread).place.load(std::memory_order_relaxed) != place) {
      worker(thread).place.store(place, std::memory_order_relaxed);
    }
  }
  if (watching_) {
    const bool crowded = late_.crowded(now);
    watching_ = crowded || late_.any_out(now);
    spin_ns_.store(crowded ? kCrowdedSpin : kQuietSpin, std::memory_order_relaxed);
  }
  invited_for_ = threads;
  invited_count_ = count;
  return count;
}

void Team::wake(Worker& worker) {
  if (worker.asleep.load() != 0 && worker.asleep.exchange(0) != 0) {
    wake_sleeper(worker.asleep);
  }
}

void Team::run(int threads, int64_t pieces, Piece body) {
  // Asked by who calls, mostly: then it is known.
  threads = static_cast<int>(std::clamp<int64_t>(pieces, 1, std::min(threads, hired())));
  const int used = threads == invited_for_ ? invited_count_ : present(threads);
  if (used == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) {
      body(piece, 0);
    }
    return;
  }
  if (watching_) {
    run_crowded(pieces, used, body);
    return;
  }
  post(0, pieces, used, body);
  work(job_, 0, 0);
  if (all_done() || spin(kLeaderSpin, [&] { return all_done(); })) {
    return;
  }
  const double begin = steady_seconds();
  const double end = wait_for_held();
  const double late = end - begin;
  if (late > kLateSeconds && late > kLateShare * (begin - glance_.time)) {
    lost(end, late);
  }
}

void Team::lost(double now, double seconds) {
  if (leaves_out_) {
    late_.lost(now, seconds);
    watching_ = watching_ || late_.crowded(now);
  }
}

// Lays the pieces [first, pieces) out as a job, and wakes those who take part.
void Team::post(int64_t first, int64_t pieces, int used, const Piece& body) {
  const int64_t count = pieces - first;
  job_ = job_ + 1 == kClosed ? 1 : job_ + 1;
  body_ = &body;
  left_.store(static_cast<int32_t>(count), std::memory_order_relaxed);
  runs_used_.store(used, std::memory_order_relaxed);
  for (int thread = 1; watching_ && thread < hired(); ++thread) {
    worker(thread).pieces.store(0, std::memory_order_relaxed);
  }
  for (int64_t i = 0; i < used; ++i) {
    // Releases body_ and left_ to whoever takes a piece of this run.
    runs_[static_cast<size_t>(i)].range.store(
        Range{job_, first + count * i / used, first + count * (i + 1) / used}.packed(),
        std::memory_order_release);
  }
  // Sequentially consistent, as what a worker does before it sleeps: either it sees the job, or it is seen asleep.
  leader_cpu_.store(::sched_getcpu(), std::memory_order_relaxed);
  jobs_.store(job_);
  for (int thread = 1; thread < hired(); ++thread) {
    if (worker(thread).place.load(std::memory_order_relaxed) != kLeftOut) {
      wake(worker(thread));
    }
  }
}

// Does the job while others want the cores, and books what its workers saved and what they cost.
void Team::run_crowded(int64_t pieces, int used, const Piece& body) {
  const double start = steady_seconds();
  int64_t first = 0;
  double begin = start;
  for (int64_t next = 1; first < pieces && begin - start < kAlone; next *= 2) {
    for (const int64_t end = std::min(pieces, first + next); first < end; ++first) {
      body(first, 0);
    }
    begin = steady_seconds();
  }
  if (first == pieces) {
    return;
  }
  const double busy = thread_seconds();
  // Since the last job a worker that found nothing to do may have had the leader's core.
  const double gap = begin - shared_end_;
  const double stolen = gap < kLongestGap ? gap - (busy - shared_busy_) / alone_share_ : 0;
  post(first, pieces, used, body);
  const int32_t own_pieces = work(job_, 0, 0);
  const double own = thread_seconds() - busy;
  holders_.clear();
  double slept = 0;
  double woken = 0;
  if (!all_done() && !spin(kLeaderSpin, [&] { return all_done(); })) {
    slept = steady_seconds();
    woken = wait_for_held();
  }
  if (own_pieces == 0) {
    return;
  }
  // Alone the leader would have needed own / own_pieces for each piece, on the part of a core that it has then.
  const double end = steady_seconds();
  const double each = own / own_pieces / alone_share_;
  // What was lost otherwise than by waiting for one of them is shared among all.
  const double cost =
      (std::max(0.0, stolen) + end - begin - (woken - slept) - own_pieces * each) / (used - 1);
  shared_end_ = end;
  shared_busy_ = thread_seconds();
  for (int thread = 1; leaves_out_ && thread < hired(); ++thread) {
    Worker& helper = worker(thread);
    if (helper.place.load(std::memory_order_relaxed) != kLeftOut) {
      const bool held = std::find(holders_.begin(), holders_.end(), thread) != holders_.end();
      const double finished = held ? helper.finished.load(std::memory_order_relaxed) : 0;
      const double late = std::max(0.0, std::min(finished, woken) - slept);
      const int32_t done = helper.pieces.load(std::memory_order_relaxed);
      late_.helped(thread, end, done * each / (used - 1) - cost - late);
    }
  }
}

// Sleeps until the last piece is done, and remembers for whom. Returns when that was.
double Team::wait_for_held() {
  holders_.clear();
  for (int thread = 1; thread < hired(); ++thread) {
    if (worker(thread).holding.load(std::memory_order_relaxed)) {
      holders_.push_back(thread);
    }
  }
  const double begin = steady_seconds();
  leader_waits_.store(1);
  for (int32_t left = left_.load(); left != 0; left = left_.load()) {
    sleep_while(left_, left);
  }
  leader_waits_.store(0);
  const double end = steady_seconds();
  glance_.waited += end - begin;
  ++glance_.waits;
  return end;
}

// By a worker: takes part in jobs until the team ends.
void Team::help(int thread) {
  Worker& self = worker(thread);
  uint32_t seen = 0;
  Idle idle;
  while (true) {
    if (!look_out(seen, idle)) {
      sleep(self, seen);
      idle = {};
    }
    keep_off_leader(idle);
    seen = jobs_.load(std::memory_order_acquire);
    if (seen == kClosed) {
      return;
    }
    const int32_t place = self.place.load(std::memory_order_relaxed);
    if (place != kLeftOut) {
      work(seen, thread, place);
      idle = {.stays = idle.stays};
    }
  }
}

// The system often wakes or starts a worker on the core of the leader, which then waits there. In a virtual machine it does so
// although another core is free: it takes the halted one for one that the host has taken away. With other programs on the
// other cores it lets them have theirs alone. But it is the leader whom all wait for.
void Team::keep_off_leader(Idle& idle) {
  const int cpu = leader_cpu_.load(std::memory_order_relaxed);
  if (cpu >= 0 && !idle.stays && ::sched_getcpu() == cpu) {
    idle.stays = !leave_cpu(cpu);
  }
}

// Whether there is a job after `seen` before it is time to sleep. Jobs in which the worker has no part count as looks, so that
// one that is left out does not look out for ever.
bool Team::look_out(uint32_t seen, Idle& idle) {
  constexpr int32_t kLooksPerClock = 32;
  while (true) {
    if (++idle.looks % kLooksPerClock == 0) {
      const double now = steady_seconds();
      if (idle.until == 0) {
        idle.until = now + 1e-9 * spin_ns_.load(std::memory_order_relaxed);
      } else if (now >= idle.until) {
        return false;
      }
      keep_off_leader(idle);
    }
    if (jobs_.load(std::memory_order_acquire) != seen) {
      return true;
    }
    pause_briefly();
  }
}

// Until there is a job in which the worker has a part, or the team ends.
void Team::sleep(Worker& self, uint32_t& seen) {
  while (true) {
    self.asleep.store(1);
    const uint32_t job = jobs_.load();
    if (job == kClosed || (job != seen && self.place.load(std::memory_order_relaxed) != kLeftOut)) {
      self.asleep.store(0);
      return;
    }
    seen = job;
    while (self.asleep.load() != 0) {
      sleep_while(self.asleep, 1U);
    }
  }
}

// Its owner walks a run from the front; others take from the back, so that it walks on undisturbed. A piece taken, or -1.
// Whoever has a piece may read body_: the job cannot end before the piece is done.
int64_t Team::take(std::atomic<uint64_t>& run, uint32_t job, bool own) {
  uint64_t packed = run.load(std::memory_order_relaxed);
  while (true) {
    Range range = Range::of(packed);
    if (range.job != job || range.begin >= range.end) {
      return -1;
    }
    const int64_t piece = own ? range.begin++ : --range.end;
    if (run.compare_exchange_weak(packed, range.packed(), std::memory_order_acquire,
                                  std::memory_order_relaxed)) {
      return piece;
    }
  }
}

// Does pieces until none is left to take; how many.
int32_t Team::work(uint32_t job, int thread, int place) {
  int32_t done = 0;
  const int used = runs_used_.load(std::memory_order_relaxed);
  for (int i = 0; i < used; ++i) {
    std::atomic<uint64_t>& run = runs_[static_cast<size_t>((place + i) % used)].range;
    for (int64_t piece = take(run, job, i == 0); piece >= 0; piece = take(run, job, i == 0)) {
      if (done++ == 0 && thread != 0) {
        worker(thread).holding.store(true, std::memory_order_relaxed);
      }
      (*body_)(piece, thread);
    }
  }
  if (done == 0) {
    return 0;
  }
  if (thread != 0) {
    worker(thread).pieces.store(done, std::memory_order_relaxed);
    if (leader_waits_.load(std::memory_order_relaxed) != 0) {
      worker(thread).finished.store(steady_seconds(), std::memory_order_relaxed);
    }
    worker(thread).holding.store(false, std::memory_order_relaxed);
  }
  if (left_.fetch_sub(done) == done && thread != 0 && leader_waits_.load() != 0) {
    wake_sleeper(left_);
  }
  return done;
}

}  // namespace tern
