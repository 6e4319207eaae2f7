#include "engine/session/session.h"

#include <gtest/gtest.h>

#include "engine/session/local_completer.h"
#include "kernels/select.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

// A text pushed in pieces comes out whole up to a stop string, wherever the pieces are cut.
TEST(StopFilter, FindsStopStringsAcrossPieces) {
  const std::vector<std::string> stops = {"END", "\n\n"};
  const std::string text = "one EN two E\nEND three";
  for (size_t first = 0; first <= text.size(); ++first) {
    for (size_t second = first; second <= text.size(); ++second) {
      StopFilter filter(stops);
      std::string out = filter.push(text.substr(0, first));
      out += filter.push(text.substr(first, second - first));
      out += filter.push(text.substr(second));
      EXPECT_TRUE(filter.stopped());
      EXPECT_EQ(out + filter.finish(), "one EN two E\n");
    }
  }
}

TEST(StopFilter, ReleasesWhatDidNotBecomeAStopString) {
  const std::vector<std::string> stops = {"</s>"};
  StopFilter filter(stops);
  EXPECT_EQ(filter.push("a <"), "a ");
  EXPECT_EQ(filter.push("/"), "");
  EXPECT_EQ(filter.push("b"), "</b");
  EXPECT_EQ(filter.push(" </s"), " ");
  EXPECT_FALSE(filter.stopped());
  EXPECT_EQ(filter.finish(), "</s");
}

// A model of that configuration, of whose weights only the head has a shape.
MemoryPlan plan(const ModelConfig& config, const SessionOptions& options, uint64_t available,
                const WeightMemory& memory = {}) {
  DecoderWeights weights;
  weights.head.matrix = DenseMatrix{nullptr, config.vocab, config.width, DenseType::kF32};
  return plan_memory({config, weights, testing::tested_table(), memory}, options, available);
}

ModelConfig small_config() {
  ModelConfig config;
  config.layers = 10;
  config.width = 1000;
  config.ffn = 1000;
  config.heads = 10;
  config.kv_heads = 5;
  config.head_dim = 100;
  config.vocab = 1000;
  config.context = 100000;
  config.ropes.emplace_back().dims = 100;
  return config;
}

TEST(MemoryPlan, KvCacheIsTwoHalvesPerLayerHeadAndPosition) {
  SessionOptions options;
  options.context = 4096;
  ModelConfig config = small_config();
  config.head_dim = 96;
  const MemoryPlan whole = plan(config, options, 0);
  EXPECT_EQ(whole.context, 4096);
  EXPECT_EQ(whole.kv_cache, 2ULL * 2 * 10 * 5 * 96 * 4096);
  EXPECT_TRUE(whole.notice.empty());
  // A byte a value, and a half for 32 of them.
  options.kv_type = KvType::kQ8_0;
  EXPECT_EQ(plan(config, options, 0).kv_cache, 2ULL * 10 * 5 * 4096 * (96 + 2 * 3));
}

TEST(MemoryPlan, ContextIsCappedByTheDefaultAndByMemory) {
  SessionOptions options;
  EXPECT_EQ(plan(small_config(), options, 0).context, kDefaultContext);

  options.context = 100000;  // 2 GB of cache
  const MemoryPlan capped = plan(small_config(), options, 1'000'000'000);
  EXPECT_LT(capped.kv_cache + capped.workspace, 1'000'000'000U);
  EXPECT_GT(capped.context, 1000);
  for (const char* part :
       {"instead of 100000", "2.17 GB", "KV cache", "1.00 GB are available", "--kv-type q8_0"}) {
    EXPECT_NE(capped.notice.find(part), std::string::npos) << capped.notice;
  }
}

// What was packed stays; a file that does not fit is read again, and the context need not suffer for it.
TEST(MemoryPlan, WeightsTakeTheirShare) {
  constexpr uint64_t kAvailable = 1'000'000'000;
  const SessionOptions options{.context = 8192};
  EXPECT_EQ(plan(small_config(), options, kAvailable).context, 8192);  // 164 MB of cache
  const MemoryPlan packed = plan(small_config(), options, kAvailable, {.computed = 800'000'000});
  EXPECT_LT(packed.context, 8192);
  EXPECT_TRUE(packed.fits());
  EXPECT_FALSE(plan(small_config(), options, kAvailable, {.computed = 1'000'000'000}).fits());
  const MemoryPlan mapped = plan(small_config(), options, kAvailable, {.mapped = 2'000'000'000});
  EXPECT_EQ(mapped.context, 8192);
  EXPECT_TRUE(mapped.fits());
  EXPECT_NE(mapped.notice.find("from the disk"), std::string::npos) << mapped.notice;
  const MemoryPlan experts = plan(small_config(), options, kAvailable, {.experts = 2'000'000'000});
  EXPECT_NE(experts.notice.find("experts up to 2.00 GB"), std::string::npos) << experts.notice;
  const SessionOptions with_draft{.context = 8192, .reserved = 800'000'000};
  EXPECT_LT(plan(small_config(), with_draft, kAvailable).context, 8192);
}

// The largest numbers that a configuration may hold neither wrap nor overflow.
TEST(MemoryPlan, AddsUpHostileNumbers) {
  ModelConfig config = small_config();
  config.layers = config.heads = config.kv_heads = config.head_dim = 1 << 12;
  config.context = 1 << 24;
  EXPECT_EQ(plan(config, {.context = config.context}, 0).kv_cache,
            uint64_t{1} << (2 + 12 + 24 + 24));
}

TEST(MemoryPlan, SaysWhenTheContextOutgrowsTheModel) {
  SessionOptions options;
  options.context = 100001;
  EXPECT_NE(plan(small_config(), options, 0).notice.find("trained for"), std::string::npos);
}

}  // namespace
}  // namespace tern
