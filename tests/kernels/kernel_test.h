#pragma once
// What all kernel tests share: which tables to test, and random numbers that can be had again.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/select.h"
#include "tests/kernels/guarded.h"

namespace tern::testing {

// TERN_TEST_SEED, or a new seed for each run.
uint32_t test_seed();
// The command that repeats the current test with this seed and table.
std::string replay_command();

// The fixture of all kernel tests. TERN_ISA names the one table to test; without it, all that run here are tested.
// A name that no table has fails; a table that this CPU cannot run skips.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override;

  const std::vector<const KernelTable*>& tables() const { return tables_; }

  int uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  float normal() { return std::normal_distribution<float>()(random_); }
  Place any_place() { return uniform(0, 1) == 0 ? Place::kStart : Place::kEnd; }

  void fill_normal(Guarded<float>& out) {
    for (float& value : out.span()) {
      value = normal();
    }
  }

 private:
  std::vector<const KernelTable*> tables_;
  std::mt19937 random_;
};

// Index of element `col` of row `row`, rows `stride` apart.
inline size_t index_of(int64_t row, int64_t stride, int64_t col = 0) {
  return static_cast<size_t>(row * stride + col);
}

}  // namespace tern::testing
