#include "engine/run/head_screen.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "engine/base/check.h"
#include "engine/base/parallel.h"

namespace tern {
namespace {

// Rows are handed to threads, and listed, so many at a time.
constexpr int kTilesPerThread = 8;
constexpr int64_t kRowGrain = 16;
constexpr int32_t kListRows = 4096;

// Rows anywhere cost more to read than rows in turn. Above about this share of candidates the full product of all rows is quicker
// than estimates and candidates (measured on an EPYC of family 25, 2 threads).
constexpr double kWorthwhileShare = 0.2;
// Positions without screening after one that did not pay; twice as many each time, up to the longest.
constexpr int32_t kFirstPause = 16;
constexpr int32_t kLongestPause = 512;

constexpr float kLowest = -std::numeric_limits<float>::infinity();

}  // namespace

HeadScreen::HeadScreen(int32_t rows, int threads)
    : threads_(threads),
      estimates_(static_cast<size_t>(kLogitsBatch) * static_cast<size_t>(rows)),
      lists_(static_cast<size_t>(threads) * kListRows),
      leaders_(static_cast<size_t>(threads) * kLogitsBatch * sizeof(Leaders)),
      merged_(static_cast<size_t>(threads) * kMostLargest),
      next_pause_(kFirstPause) {}

size_t HeadScreen::bytes(int32_t rows, int threads) {
  const size_t each =
      kListRows * sizeof(int32_t) + kLogitsBatch * sizeof(Leaders) + kMostLargest * sizeof(Leader);
  return static_cast<size_t>(kLogitsBatch) * static_cast<size_t>(rows) * sizeof(float) +
         static_cast<size_t>(threads) * each;
}

HeadScreen::Leaders& HeadScreen::leaders(int thread, size_t token) {
  return reinterpret_cast<Leaders*>(
      leaders_.data())[static_cast<size_t>(thread) * kLogitsBatch + token];
}

// Why the result is right. The computed product of row r is y(r) = fl(fl(A + B) s): A its coarse sum, B its fine sum, s > 0 the
// input's scale, fl rounding to the nearest float, which is monotone. Kernels promise that these bits do not depend on which
// rows are computed. Its estimate E and split_bound D satisfy A + B <= E + D, all rounding in A, B, E and D allowed for
// (split_pack.cpp derives it). So
//
//   U(r) = fl(fl(E + D) s) >= y(r).
//
// The threshold T is the least product of `largest` different rows, so the `largest`-th largest of all products is at least T. A row
// with U(r) < T has y(r) < T: it is neither among the `largest` largest nor equal to the last of them.
bool HeadScreen::multiply(const Compute& compute, const SplitMatrix& w,
                          std::span<const SplitInput> x, const LogitsWanted& wanted, float* y) {
  const auto tokens = static_cast<int32_t>(x.size());
  stats_.positions += tokens;
  const bool ordinary = std::all_of(x.begin(), x.end(), [](const SplitInput& input) {
    return std::isfinite(input.scale) && input.scale > 0.0F;
  });
  if (wanted.largest <= 0 || wanted.largest > std::min(kMostLargest, w.rows - 1) || !ordinary) {
    return false;
  }
  if (pause_ > 0) {
    pause_ -= std::min(pause_, tokens);
    return false;
  }
  const Job job{compute, w, x, wanted.largest, y};
  int64_t full_rows = 0;
  parallel_region(compute.threads, [&] {
    estimate_all(job);
    float thresholds[kLogitsBatch];
    for (size_t t = 0; t < x.size(); ++t) {
      thresholds[t] = threshold(job, t);
    }
    full_rows = multiply_candidates(job, thresholds);
  });
  for (size_t t = 0; t < x.size(); ++t) {
    compute.kernels->split.rows(w, x[t], wanted.tokens.data(),
                                static_cast<int32_t>(wanted.tokens.size()),
                                y + t * static_cast<size_t>(w.rows));
  }
  stats_.screened += tokens;
  judge(int64_t{w.rows} * tokens, full_rows);
  return true;
}

void HeadScreen::estimate_all(const Job& job) {
  for (int thread = 0; thread < threads_; ++thread) {
    for (size_t t = 0; t < job.x.size(); ++t) {
      leaders(thread, t).count = 0;
    }
  }
  parallel_tiles(
      job.compute.threads, kTilesPerThread, job.w.rows, kRowGrain,
      [&](int64_t begin, int64_t end, int thread) {
        const RowRange rows{static_cast<int32_t>(begin), static_cast<int32_t>(end)};
        job.compute.kernels->split.screen(job.w, job.x.data(), static_cast<int32_t>(job.x.size()),
                                          rows, estimates_.data(), job.w.rows);
        for (size_t t = 0; t < job.x.size(); ++t) {
          offer(leaders(thread, t), estimates_.data() + t * static_cast<size_t>(job.w.rows), rows,
                job.largest);
        }
      });
}

// Keeps the `largest` rows of largest estimates. Which of several equal ones it keeps does not matter: any rows make a valid
// threshold, and these a good one.
void HeadScreen::offer(Leaders& leaders, const float* estimates, RowRange rows, int32_t largest) {
  constexpr int32_t kRun = 32;
  for (int32_t begin = rows.begin; begin < rows.end; begin += kRun) {
    const int32_t end = std::min(begin + kRun, rows.end);
    // Most rows are far from the largest: whole runs of them are passed over.
    int32_t larger = 0;
    for (int32_t row = begin; row < end; ++row) {
      larger += estimates[row] > leaders.heap[0].estimate ? 1 : 0;
    }
    if (leaders.count == largest && larger == 0) {
      continue;
    }
    for (int32_t row = begin; row < end; ++row) {
      add(leaders, {estimates[row], row}, largest);
    }
  }
}

void HeadScreen::add(Leaders& leaders, const Leader& leader, int32_t largest) {
  const auto above = [](const Leader& a, const Leader& b) { return a.estimate > b.estimate; };
  if (leaders.count == largest) {
    if (!above(leader, leaders.heap[0])) {
      return;
    }
    std::pop_heap(leaders.heap, leaders.heap + leaders.count, above);
    --leaders.count;
  }
  leaders.heap[leaders.count++] = leader;
  std::push_heap(leaders.heap, leaders.heap + leaders.count, above);
}

// The least of the products of the rows with the largest estimates.
float HeadScreen::threshold(const Job& job, size_t token) {
  size_t count = 0;
  for (int thread = 0; thread < threads_; ++thread) {
    const Leaders& some = leaders(thread, token);
    std::copy_n(some.heap, some.count, merged_.data() + count);
    count += static_cast<size_t>(some.count);
  }
  const auto largest = static_cast<size_t>(job.largest);
  TERN_CHECK(count >= largest, "a screen wants fewer rows than there are");
  std::nth_element(merged_.data(), merged_.data() + largest - 1, merged_.data() + count,
                   [](const Leader& a, const Leader& b) { return a.estimate > b.estimate; });
  int32_t rows[kMostLargest];
  for (size_t i = 0; i < largest; ++i) {
    rows[i] = merged_[i].row;
  }
  float* y = job.y + token * static_cast<size_t>(job.w.rows);
  job.compute.kernels->split.rows(job.w, job.x[token], rows, job.largest, y);
  float least = y[rows[0]];
  for (size_t i = 1; i < largest; ++i) {
    least = std::min(least, y[rows[i]]);
  }
  return least;
}

// Returns how many rows were multiplied in full.
int64_t HeadScreen::multiply_candidates(const Job& job, const float* thresholds) {
  std::atomic<int64_t> full_rows = 0;
  parallel_tiles(job.compute.threads, kTilesPerThread, job.w.rows, kRowGrain,
                 [&](int64_t begin, int64_t end, int thread) {
                   int32_t* list = lists_.data() + int64_t{thread} * kListRows;
                   for (size_t t = 0; t < job.x.size(); ++t) {
                     const SplitInput& x = job.x[t];
                     const size_t at = t * static_cast<size_t>(job.w.rows);
                     const float* estimates = estimates_.data() + at;
                     std::fill(job.y + at + begin, job.y + at + end, kLowest);
                     for (int64_t from = begin; from < end; from += kListRows) {
                       const auto until =
                           static_cast<int32_t>(std::min<int64_t>(end, from + kListRows));
                       int32_t count = 0;
                       for (auto row = static_cast<int32_t>(from); row < until; ++row) {
                         const float bound = split_bound(job.w.norms[row], x);
                         list[count] = row;
                         count += (estimates[row] + bound) * x.scale < thresholds[t] ? 0 : 1;
                       }
                       job.compute.kernels->split.rows(job.w, x, list, count, job.y + at);
                       full_rows.fetch_add(count, std::memory_order_relaxed);
                     }
                   }
                 });
  return full_rows;
}

void HeadScreen::judge(int64_t rows, int64_t full_rows) {
  stats_.rows += rows;
  stats_.full_rows += full_rows;
  if (static_cast<double>(full_rows) <= kWorthwhileShare * static_cast<double>(rows)) {
    next_pause_ = kFirstPause;
    return;
  }
  pause_ = next_pause_;
  next_pause_ = std::min(2 * next_pause_, kLongestPause);
}

}  // namespace tern
