// Which table serves, and what the CPU says of itself.

#include "kernels/select.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "kernels/cpu.h"
#include "kernels/self_test.h"

namespace tern::testing {
namespace {

TEST(Select, EveryEntryOfEveryTableIsFilled) {
  for (const KernelTable* t : all_tables()) {
    for (const TernaryKernel& kernel : t->ternary) {
      EXPECT_TRUE(kernel.matmul && kernel.scratch_bytes) << t->name;
      EXPECT_GT(kernel.layout.tile_rows, 0) << t->name;
    }
    EXPECT_EQ(t->kernel(TernaryKind::kTwoBit).layout.packing, Packing::kTwoBit) << t->name;
    EXPECT_EQ(t->kernel(TernaryKind::kBase3).layout.packing, Packing::kBase3) << t->name;
    EXPECT_EQ(t->kernel(TernaryKind::kBitplanes).layout.packing, Packing::kBitplanes) << t->name;
    EXPECT_EQ(t->kernel(TernaryKind::kBitplanesMasked).layout.packing, Packing::kBitplanes);
    EXPECT_EQ(t->kernel(TernaryKind::kSign).layout.packing, Packing::kSign) << t->name;
    EXPECT_TRUE(t->dense_matmul && t->dense_scratch_bytes && t->dense_row) << t->name;
    EXPECT_TRUE(t->rms_norm && t->quantize_q8 && t->silu_mul) << t->name;
    EXPECT_TRUE(t->relu2_mul && t->gelu_mul && t->add && t->rope) << t->name;
    EXPECT_TRUE(t->attention && t->to_half) << t->name;
  }
}

TEST(Select, NamesAreUniqueAndThePortableTableIsLastAndNeedsNothing) {
  std::set<std::string> names;
  for (const KernelTable* t : all_tables()) {
    EXPECT_TRUE(names.insert(t->name).second) << t->name;
  }
  EXPECT_STREQ(all_tables().back()->name, "portable");
  EXPECT_EQ(all_tables().back()->needs, 0U);
}

TEST(Select, TheBestTableIsTheFirstThatRuns) {
  EXPECT_TRUE(runs_here(best_table()));
  for (const KernelTable* t : all_tables()) {
    if (t == &best_table()) {
      break;
    }
    EXPECT_FALSE(runs_here(*t)) << t->name;
  }
}

// TERN_EXPECTED_TABLE: what the emulated processor that runs this test should get.
TEST(Select, AnEmulatedProcessorGetsItsTable) {
  const char* expected = std::getenv("TERN_EXPECTED_TABLE");
  if (expected == nullptr) {
    GTEST_SKIP() << "no table was named";
  }
  EXPECT_STREQ(best_table().name, expected);
}

TEST(Select, FindsTablesByNameOnly) {
  for (const KernelTable* t : all_tables()) {
    EXPECT_EQ(find_table(t->name), runs_here(*t) ? t : nullptr) << t->name;
  }
  EXPECT_EQ(find_table("doesnotexist"), nullptr);
  EXPECT_EQ(find_table(""), nullptr);
  EXPECT_EQ(find_table("portable2"), nullptr);
}

TEST(Select, ATableWhoseNeedsAreNotMetDoesNotRun) {
  KernelTable table;
  table.needs = 1U << 31;  // no such feature
  EXPECT_FALSE(runs_here(table));
}

TEST(Cpu, NamesItselfAndItsFeatures) {
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_EQ(cpu_feature_names(0), "");
  EXPECT_EQ(cpu_feature_names(kCpuAvx2 | kCpuAmxInt8), "avx2 amxint8");
#if defined(__x86_64__)
  // The compiler's runtime asks the processor too.
  EXPECT_EQ((cpu_features() & kCpuAvx2) != 0,
            __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ((cpu_features() & kCpuAvx512Vnni) != 0, __builtin_cpu_supports("avx512vnni") != 0);
#endif
}

TEST(SelfTest, PassesOnEveryTableThatRuns) {
  const std::vector<SelfTestResult> results = run_self_test();
  size_t running = 0;
  for (const KernelTable* t : all_tables()) {
    running += runs_here(*t) ? 1U : 0U;
  }
  EXPECT_EQ(results.size(), running);
  for (const SelfTestResult& result : results) {
    EXPECT_TRUE(result.passed) << result.table << ": " << result.failure;
    EXPECT_GT(result.checks, 1000);
  }
}

// Ceilings are counted, not guessed: twice the rounds are twice the multiplications.
TEST(Tables, PeakLoopsCountTheirWork) {
  for (const KernelTable* table : all_tables()) {
    ASSERT_NE(table->peak.ternary, nullptr) << table->name;
    ASSERT_NE(table->peak.dense, nullptr) << table->name;
    if (runs_here(*table)) {
      EXPECT_GT(table->peak.ternary(1), table->peak.dense(1)) << table->name;
      EXPECT_EQ(table->peak.ternary(1000), 1000 * table->peak.ternary(1)) << table->name;
      EXPECT_EQ(table->peak.dense(1000), 1000 * table->peak.dense(1)) << table->name;
    }
  }
}

}  // namespace
}  // namespace tern::testing
