#include "engine/run/thread_tuner.h"

#include <gtest/gtest.h>

#include <functional>

namespace tern {
namespace {

// Seconds that a layer takes on so many threads.
using Machine = std::function<double(int threads)>;

constexpr int kLayers = 24;

// Runs passes on a machine; the seconds they took.
double run(ThreadTuner& tuner, int passes, const Machine& machine) {
  double total = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const int most = tuner.begin_pass();
    for (int layer = 0; layer < kLayers; ++layer) {
      const int threads = tuner.threads_for_layer(layer);
      EXPECT_GE(threads, 1);
      EXPECT_LE(threads, most);
      tuner.end_layer(layer, machine(threads));
      total += machine(threads);
    }
    tuner.end_pass();
  }
  return total;
}

double scales_well(int threads) {
  return 1.0 / threads;
}
double is_busy(int threads) {
  return threads == 1 ? 1.0 : 2.0 * threads;
}
double ends_at_six(int threads) {
  return threads <= 6 ? 1.0 / threads : threads / 36.0;
}

TEST(ThreadTuner, AFixedNumberStays) {
  ThreadTuner tuner(5);
  run(tuner, 100, is_busy);
  EXPECT_EQ(tuner.threads(), 5);
}

TEST(ThreadTuner, KeepsAllThreadsWhereTheyHelpAtLittleCost) {
  for (const int most : {1, 2, 3, 4, 16, 64}) {
    for (const int stride : {3, 10}) {
      ThreadTuner tuner(most, stride);
      const double took = run(tuner, 128, scales_well);
      EXPECT_EQ(tuner.threads(), most);
      EXPECT_LT(took, 1.03 * 128 * kLayers * scales_well(most));
    }
  }
}

TEST(ThreadTuner, FindsTheFastestNumber) {
  for (const int most : {2, 4, 16}) {
    ThreadTuner tuner(most, 3);
    run(tuner, 50, is_busy);
    EXPECT_EQ(tuner.threads(), 1);
  }
  ThreadTuner tuner(16, 3);
  run(tuner, 50, ends_at_six);
  EXPECT_EQ(tuner.threads(), 6);
}

TEST(ThreadTuner, NoticesThatTheMachineChanged) {
  ThreadTuner tuner(8, 3);
  run(tuner, 500, is_busy);
  EXPECT_EQ(tuner.threads(), 1);
  run(tuner, 500, scales_well);
  EXPECT_EQ(tuner.threads(), 8);
  run(tuner, 500, is_busy);
  EXPECT_EQ(tuner.threads(), 1);
}

// Differences that are noise do not make it change.
TEST(ThreadTuner, StaysWhereNumbersAreAlike) {
  ThreadTuner tuner(4, 3);
  run(tuner, 300, [](int threads) { return 1.0 + 0.001 * threads; });
  EXPECT_EQ(tuner.threads(), 4);
}

}  // namespace
}  // namespace tern
