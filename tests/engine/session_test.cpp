#include "engine/session/session.h"

#include <gtest/gtest.h>

#include "engine/session/local_completer.h"

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
  const MemoryPlan plan = plan_memory(config, options, 0);
  EXPECT_EQ(plan.context, 4096);
  EXPECT_EQ(plan.kv_cache, 2ULL * 2 * 10 * 5 * 96 * 4096);
  EXPECT_TRUE(plan.notice.empty());
  // A byte a value, and a half for 32 of them.
  options.kv_type = KvType::kQ8_0;
  EXPECT_EQ(plan_memory(config, options, 0).kv_cache, 2ULL * 10 * 5 * 4096 * (96 + 2 * 3));
}

TEST(MemoryPlan, ContextIsCappedByTheDefaultAndByMemory) {
  SessionOptions options;
  EXPECT_EQ(plan_memory(small_config(), options, 0).context, kDefaultContext);

  options.context = 100000;  // 2 GB of cache
  const MemoryPlan capped = plan_memory(small_config(), options, 1000 * 1000 * 1000);
  EXPECT_LT(capped.kv_cache + capped.workspace, 1000ULL * 1000 * 1000);
  EXPECT_GT(capped.context, 1000);
  EXPECT_NE(capped.notice.find("instead of 100000"), std::string::npos) << capped.notice;
}

TEST(MemoryPlan, SaysWhenTheContextOutgrowsTheModel) {
  SessionOptions options;
  options.context = 100001;
  EXPECT_NE(plan_memory(small_config(), options, 0).notice.find("trained for"), std::string::npos);
}

}  // namespace
}  // namespace tern
