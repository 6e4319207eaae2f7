// Threads under conditions that they do not like: too few cores, others that are late, workers that never come.

#include "engine/base/team.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/late_workers.h"

namespace tern {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// ---- who is left out, and for how long ----------------------------------------------------------

TEST(LateWorkers, AllTakePartAtFirst) {
  const LateWorkers late;
  EXPECT_TRUE(late.takes_part(1, 0));
  EXPECT_FALSE(late.any_out(0));
  EXPECT_FALSE(late.crowded(0));
}

TEST(LateWorkers, ALossNowAndThenIsAllowed) {
  LateWorkers late;
  for (double now = 10; now < 20; now += 0.5) {
    late.lost(now, 4e-3);
    EXPECT_FALSE(late.crowded(now)) << now;
  }
}

TEST(LateWorkers, LossesInARowShowThatTheMachineIsCrowded) {
  LateWorkers late;
  double now = 10;
  double lost = 0;
  for (; !late.crowded(now); now += 8e-3) {
    late.lost(now, 4e-3);
    lost += 4e-3;
  }
  EXPECT_LE(lost, LateWorkers::kMostAllowed + 2 * 4e-3);
  EXPECT_FALSE(late.crowded(now + LateWorkers::kLongestRest));
  EXPECT_TRUE(late.takes_part(1, now));
}

// The share of a minute that is lost where each 8 milliseconds that the machine does not count as crowded cost 4.
TEST(LateWorkers, ACrowdedMachineIsRarelyTriedAgain) {
  LateWorkers late;
  double lost = 0;
  for (double now = 10; now < 70; now += 8e-3) {
    if (!late.crowded(now)) {
      late.lost(now, 4e-3);
      lost += 4e-3;
    }
  }
  EXPECT_LT(lost, 0.01 * 60);
}

TEST(LateWorkers, OnlyTheOneThatCostsIsLeftOut) {
  LateWorkers late;
  late.helped(2, 1.0, -1e-3);
  late.helped(3, 1.0, -0.1);
  EXPECT_TRUE(late.takes_part(1, 1.0));
  EXPECT_TRUE(late.takes_part(2, 1.0));
  EXPECT_FALSE(late.takes_part(3, 1.0));
  EXPECT_TRUE(late.any_out(1.0));
  EXPECT_TRUE(late.takes_part(3, 1.0 + LateWorkers::kLongestRest));
  EXPECT_FALSE(late.any_out(1.0 + LateWorkers::kLongestRest));
}

// Runs a minute in which the worker, while it takes part, saves `saved` seconds in every `runs` and is then put aside for `away`
// seconds, for which the leader waits. Returns the share of the time that was lost.
double lost_share(double runs, double saved, double away) {
  LateWorkers late;
  double now = 100;
  double lost = 0;
  while (now < 160) {
    if (late.takes_part(1, now)) {
      now += runs + away;
      lost += away - saved;
      late.helped(1, now - away, saved);
      late.helped(1, now, -away);
    } else {
      now += 1e-3;
    }
  }
  return lost / 60;
}

// Steps are far shorter than a scheduler's turn: each time that the worker is put aside costs the leader a whole one.
TEST(LateWorkers, OneThatCostsMoreThanItHelpsCostsLittle) {
  for (const double turn : {1e-3, 4e-3, 10e-3}) {
    EXPECT_LT(lost_share(turn, 0, turn), 0.02) << turn;
    EXPECT_LT(lost_share(turn, turn / 2, turn), 0.02) << turn;
    EXPECT_LT(lost_share(turn, turn, 3 * turn), 0.03) << turn;
  }
}

// A worker that steals from the leader is never late, but its help is worth less than nothing.
TEST(LateWorkers, OneThatNeverHelpsIsLeftOut) {
  LateWorkers late;
  double present = 0;
  for (double now = 1; now < 61; now += 1e-3) {
    if (late.takes_part(1, now)) {
      late.helped(1, now, -0.3e-3);
      present += 1e-3;
    }
  }
  EXPECT_LT(present, 1.0);
}

// Long steps: the wait at the end of each is short beside the help.
TEST(LateWorkers, OneThatHelpsMoreThanItCostsStays) {
  LateWorkers late;
  for (double now = 1; now < 10; now += 40e-3) {
    late.helped(1, now, 15e-3);
    late.helped(1, now, -4e-3);
    EXPECT_TRUE(late.takes_part(1, now));
  }
}

TEST(LateWorkers, AreBackSoonWhenTheMachineIsQuiet) {
  LateWorkers late;
  double now = 1;
  for (int i = 0; i < 1000; ++i) {
    now += late.takes_part(1, now) ? 4e-3 : 1e-3;
    if (late.takes_part(1, now)) {
      late.helped(1, now, -4e-3);
    }
  }
  EXPECT_TRUE(late.takes_part(1, now + LateWorkers::kLongestRest));
  EXPECT_FALSE(late.any_out(now + LateWorkers::kLongestRest));
  // And being late again once, much later, is no long absence.
  now += 100;
  late.helped(1, now, 1);
  late.helped(1, now, -LateWorkers::kMostSaved - 1e-3);
  EXPECT_FALSE(late.takes_part(1, now));
  EXPECT_TRUE(late.takes_part(1, now + LateWorkers::kFirstRest * 1e-3 + 1e-6));
}

// ---- the team -----------------------------------------------------------------------------------

// Thousands of steps, each of which reads on whatever thread what the one before it wrote. `yields`: threads change places
// within a step, on one core too.
void expect_steps(Team& team, int threads, int64_t pieces, int steps, bool yields = false) {
  const auto count = static_cast<size_t>(pieces);
  std::vector<int64_t> values(count, 0);
  std::vector<int64_t> next(count, 0);
  std::atomic<bool> beyond = false;
  for (int step = 0; step < steps; ++step) {
    team.run(threads, pieces, [&](int64_t piece, int thread) {
      const auto i = static_cast<size_t>(piece);
      next[i] = values[(i + 1) % count] + 1;
      if (thread < 0 || thread >= threads) {
        beyond = true;
      }
      if (yields && piece % 16 == 5) {
        std::this_thread::yield();
      }
    });
    std::swap(values, next);
  }
  EXPECT_EQ(values, std::vector<int64_t>(count, steps));
  EXPECT_FALSE(beyond);
}

// Waits until all threads take part: a new one takes a while to come.
void gather(Team& team, int threads) {
  const double deadline = steady_seconds() + 60;
  std::atomic<int> here = 0;
  team.run(threads, threads, [&](int64_t, int) {
    ++here;
    while (here < threads && steady_seconds() < deadline) {
      std::this_thread::sleep_for(microseconds(10));
    }
  });
  ASSERT_LT(steady_seconds(), deadline) << "not all threads came";
}

// A thread that is stuck in one piece leaves the others of its run to the rest.
TEST(Team, OthersTakeThePiecesOfASlowThread) {
  Team team(false);
  team.grow(2);
  ASSERT_EQ(team.present(2), 2);
  std::atomic<int> others = 0;
  std::atomic<int> slow = -1;
  const double deadline = steady_seconds() + 60;
  team.run(2, 16, [&](int64_t piece, int thread) {
    if (piece == 0) {
      slow = thread;
      while (others < 15 && steady_seconds() < deadline) {
        std::this_thread::sleep_for(microseconds(100));
      }
      return;
    }
    EXPECT_NE(thread, slow.load());
    ++others;
  });
  EXPECT_EQ(others, 15);
  EXPECT_LT(steady_seconds(), deadline);
}

// After fork() the workers are missing: nothing waits for them.
TEST(Team, TheLeaderAloneDoesWhatWorkersDoNotComeFor) {
  Team team(false);
  team.grow(4);
  gather(team, 4);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    expect_steps(team, 4, 64, 1000);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Threads of this process can only be started if there is room for their stacks.
TEST(Team, ThreadsThatCannotBeStartedAreNotMissed) {
  pthread_attr_t usual;
  ASSERT_EQ(::pthread_getattr_default_np(&usual), 0);
  pthread_attr_t huge = usual;
  ASSERT_EQ(::pthread_attr_setstacksize(&huge, size_t{1} << 46), 0);
  ASSERT_EQ(::pthread_setattr_default_np(&huge), 0);
  Team team(false);
  team.grow(4);
  EXPECT_EQ(::pthread_setattr_default_np(&usual), 0);
  EXPECT_EQ(team.present(4), 1);
  expect_steps(team, 4, 64, 100);
}

// A worker that comes late from a job of eight threads takes no piece of a job of two.
TEST(Team, NoThreadTakesPartInAJobOfFewer) {
  Team team(false);
  team.grow(8);
  gather(team, 8);
  for (int round = 0; round < 300; ++round) {
    expect_steps(team, 8, 64, 3);
    expect_steps(team, 2, 64, 3);
    expect_steps(team, 5, 7, 3);
  }
}

class OneCpu {
 public:
  OneCpu() {
    CPU_ZERO(&before_);
    ok_ = ::sched_getaffinity(0, sizeof before_, &before_) == 0;
    cpu_set_t one;
    CPU_ZERO(&one);
    for (size_t cpu = 0; ok_ && CPU_COUNT(&one) == 0 && cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &before_)) {
        CPU_SET(cpu, &one);
      }
    }
    ok_ = ok_ && ::sched_setaffinity(0, sizeof one, &one) == 0;
  }
  ~OneCpu() { ::sched_setaffinity(0, sizeof before_, &before_); }
  OneCpu(const OneCpu&) = delete;
  OneCpu& operator=(const OneCpu&) = delete;

  bool ok() const { return ok_; }

 private:
  cpu_set_t before_;
  bool ok_ = false;
};

TEST(Team, ManyThreadsOnOneCpuDoTheirWork) {
  const OneCpu one;
  ASSERT_TRUE(one.ok());
  Team team(false);
  team.grow(8);
  gather(team, 8);
  expect_steps(team, 8, 32, 40, true);
}

// Leader and workers fall asleep at all moments: pauses about as long as they look out, and pieces that keep the others waiting.
TEST(Team, NoWakeUpIsLost) {
  Team team(false);
  team.grow(3);
  gather(team, 3);
  uint32_t state = 1;
  const auto random_below = [&](uint32_t n) {
    state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
    return (state >> 8) % n;
  };
  for (int round = 0; round < 1500; ++round) {
    const uint32_t pause = random_below(4) == 0 ? random_below(400) : 0;
    const uint32_t slow_piece = random_below(30);
    const uint32_t slow = random_below(8) == 0 ? random_below(200) : 0;
    std::this_thread::sleep_for(microseconds(pause));
    std::atomic<int> done = 0;
    team.run(3, 6, [&](int64_t piece, int) {
      if (slow > 0 && piece == slow_piece) {
        std::this_thread::sleep_for(microseconds(slow));
      }
      ++done;
    });
    ASSERT_EQ(done, 6);
  }
}

TEST(Team, WorkersThatSleptForLongComeBack) {
  Team team(false);
  team.grow(4);
  gather(team, 4);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(milliseconds(5));
    expect_steps(team, 4, 64, 200);
  }
}

TEST(Team, LeadersDoNotDisturbEachOther) {
  std::vector<std::thread> leaders;
  for (int i = 0; i < 4; ++i) {
    leaders.emplace_back([] {
      Team team(false);
      team.grow(3);
      gather(team, 3);
      expect_steps(team, 3, 24, 500);
    });
  }
  for (std::thread& leader : leaders) {
    leader.join();
  }
}

}  // namespace
}  // namespace tern
