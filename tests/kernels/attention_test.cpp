// Attention of every table against plain loops over keys and values as the cache is defined to keep them.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference.h"
#include "tests/kernels/kernel_test.h"

namespace tern::testing {
namespace {

struct Shape {
  int32_t dims;
  int32_t heads;
  int32_t tokens;
  int32_t first_position;
  int32_t window = 0;

  int32_t positions() const { return first_position + tokens; }
  int32_t rows() const { return tokens * heads; }
};

// A head's cache, and what was put into it. Nothing is stored beyond `positions`, and what is not stored is not a number.
struct Cache {
  KvLayout layout;
  Guarded<uint8_t> blocks;
  std::vector<std::vector<double>> keys;
  std::vector<std::vector<double>> values;

  Cache(const KvLayout& kv_layout, int32_t positions, Place place)
      : layout(kv_layout),
        blocks(static_cast<size_t>(KvLayout::blocks(positions)) * kv_layout.block_bytes(), 64,
               place) {
    std::fill(blocks.span().begin(), blocks.span().end(), uint8_t{0xFF});
  }
  void store(const KernelTable& table, const std::vector<float>& k, const std::vector<float>& v) {
    store_kv(table.to_half, layout, static_cast<int32_t>(keys.size()), k.data(), v.data(),
             blocks.data());
    keys.push_back(reference::kv_row(layout.type, k.data(), layout.dims));
    values.push_back(reference::kv_row(layout.type, v.data(), layout.dims));
  }
};

class Attention : public KernelTest {
 protected:
  std::vector<float> normals(int64_t count, float scale) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float& value : out) {
      value = scale * normal();
    }
    return out;
  }

  Cache filled_cache(const KernelTable& table, const KvLayout& layout, int32_t positions) {
    Cache cache(layout, positions, any_place());
    for (int32_t p = 0; p < positions; ++p) {
      cache.store(table, normals(layout.dims, 1.0F), normals(layout.dims, 1.0F));
    }
    return cache;
  }

  // states of all rows over the positions [begin, end).
  std::vector<float> run(const KernelTable& table, const AttentionQueries& queries, Cache& cache,
                         int32_t begin, int32_t end) {
    const auto rows = static_cast<size_t>(queries.tokens * queries.heads);
    Guarded<float> states(rows * static_cast<size_t>(attention_state_floats(cache.layout)),
                          sizeof(float), any_place());
    Guarded<uint8_t> scratch(attention_scratch_bytes(cache.layout, static_cast<int32_t>(rows)), 64,
                             any_place());
    table.attention(queries, cache.layout, cache.blocks.data(), begin, end, states.data(),
                    scratch.data());
    EXPECT_TRUE(states.intact() && scratch.intact()) << "wrote beside its buffers";
    return {states.span().begin(), states.span().end()};
  }

  void check(const KernelTable& table, const KvLayout& layout, const Shape& shape) {
    Cache cache = filled_cache(table, layout, shape.positions());
    cache.blocks.freeze();
    // Heads of others stand between the tokens' rows.
    const int64_t stride = int64_t{shape.heads} * layout.dims + uniform(0, 3) * layout.dims;
    std::vector<float> q = normals(stride * shape.tokens, 2.0F);
    const float scale = 1.0F / std::sqrt(static_cast<float>(layout.dims));
    const AttentionQueries queries{
        q.data(), stride, shape.tokens, shape.heads, shape.first_position, scale, shape.window};
    std::vector<float> states = run(table, queries, cache, 0, shape.positions());
    for (int32_t row = 0; row < shape.rows(); ++row) {
      const int32_t token = row / shape.heads;
      const float* one = q.data() + token * stride + (row % shape.heads) * layout.dims;
      const int32_t end = shape.first_position + token + 1;
      const int32_t first = shape.window == 0 ? 0 : std::max(0, end - shape.window);
      const std::vector<double> truth =
          reference::attention(one, cache.keys, cache.values, {first, end}, double{scale});
      const AttentionState state =
          attention_state(states.data() + row * attention_state_floats(layout));
      for (size_t d = 0; d < truth.size(); ++d) {
        // Scores below 30 are off by less than 1e-5, so weights by as much; values are below 6.
        ASSERT_NEAR(state.out[d] / *state.sum, truth[d], 1e-4) << "row " << row << ", " << d;
      }
    }
  }
};

constexpr Shape kShapes[] = {
    {1, 1, 1, 0},
    {7, 1, 1, 3},
    {16, 1, 1, 63},
    {32, 2, 1, 64},
    {33, 3, 1, 65},
    {64, 4, 1, 200},
    {80, 5, 1, 15},
    {100, 8, 1, 16},
    {128, 4, 1, 127},
    {128, 4, 3, 62},
    {128, 1, 9, 0},
    {96, 3, 5, 128},
    {64, 2, 70, 0},
    {72, 1, 33, 100},
    {128, 4, 16, 300},
    {256, 4, 4, 130},
    {300, 2, 2, 1000},
    // Windows that end everywhere in a block, are longer than the text, and of one position.
    {64, 2, 1, 200, 64},
    {64, 1, 70, 0, 3},
    {80, 3, 40, 100, 16},
    {72, 2, 33, 120, 65},
    {128, 4, 5, 300, 128},
    {32, 2, 9, 60, 1000},
    {16, 8, 130, 0, 1},
    {33, 1, 200, 0, 70},
};

TEST_F(Attention, EqualsTheDefinition) {
  for (const KernelTable* table : tables()) {
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
      for (const Shape& shape : kShapes) {
        SCOPED_TRACE(std::string(table->name) + ", type " + std::to_string(static_cast<int>(type)) +
                     ", " + std::to_string(shape.dims) + " dims, " + std::to_string(shape.heads) +
                     " heads, " + std::to_string(shape.tokens) + " tokens from " +
                     std::to_string(shape.first_position) + ", window " +
                     std::to_string(shape.window) + "\nreplay: " + replay_command());
        check(*table, {type, shape.dims}, shape);
        if (HasFatalFailure()) {
          return;
        }
      }
    }
  }
}

// Each row alone, over the positions that it sees alone, gives the same bits as all of them together.
TEST_F(Attention, ARowDependsOnNothingBesideIt) {
  constexpr int32_t kHeads = 3;
  constexpr int32_t kTokens = 37;
  constexpr int32_t kFirst = 90;
  for (const KernelTable* table : tables()) {
    for (const auto& [type, window] : {std::pair{KvType::kF16, 0},
                                       {KvType::kQ8_0, 0},
                                       {KvType::kF16, 41},
                                       {KvType::kQ8_0, 50}}) {
      const KvLayout layout{type, 72};
      Cache cache = filled_cache(*table, layout, kFirst + kTokens);
      const int64_t stride = int64_t{kHeads} * layout.dims;
      const std::vector<float> q = normals(stride * kTokens, 3.0F);
      const int32_t begin = kKvBlock;
      const std::vector<float> all =
          run(*table, {q.data(), stride, kTokens, kHeads, kFirst, 0.1F, window}, cache, begin,
              kFirst + kTokens);
      const auto floats = static_cast<size_t>(attention_state_floats(layout));
      for (int32_t token = 0; token < kTokens; ++token) {
        for (int32_t head = 0; head < kHeads; ++head) {
          const float* one = q.data() + token * stride + head * layout.dims;
          const std::vector<float> alone =
              run(*table, {one, stride, 1, 1, kFirst + token, 0.1F, window}, cache, begin,
                  kFirst + token + 1);
          const float* together = all.data() + static_cast<size_t>(token * kHeads + head) * floats;
          ASSERT_EQ(std::memcmp(alone.data(), together, 2 * sizeof(float)), 0);
          ASSERT_EQ(std::memcmp(alone.data() + kAttentionHeader, together + kAttentionHeader,
                                (floats - kAttentionHeader) * sizeof(float)),
                    0)
              << table->name << ", token " << token << ", head " << head;
        }
      }
    }
  }
}

// Nor do those before the window, even in the block where it begins; and a row that sees nothing at all says so.
TEST_F(Attention, NothingBeforeTheWindowIsSeen) {
  for (const KernelTable* table : tables()) {
    const KvLayout layout{KvType::kF16, 64};
    Cache cache(layout, 130, any_place());
    for (int32_t p = 0; p < 130; ++p) {
      const float value = p < 70 ? std::numeric_limits<float>::infinity() : 1.0F;
      cache.store(*table, std::vector<float>(64, value), std::vector<float>(64, value));
    }
    const std::vector<float> q = normals(int64_t{2} * 64, 1.0F);
    const AttentionQueries queries{q.data(), 64, 2, 1, 128, 1.0F, 59};  // from 70 and from 71
    std::vector<float> states = run(*table, queries, cache, 0, 130);
    for (int32_t row = 0; row < 2; ++row) {
      const AttentionState state =
          attention_state(states.data() + row * attention_state_floats(layout));
      EXPECT_NEAR(state.out[5] / *state.sum, 1.0F, 1e-6F) << table->name;
    }
    std::vector<float> unseen = run(*table, queries, cache, 0, 64);
    EXPECT_EQ(unseen[0], -std::numeric_limits<float>::infinity()) << table->name;
    EXPECT_EQ(unseen[1], 0.0F) << table->name;
    EXPECT_EQ(*attention_state(unseen.data()).out, 0.0F) << table->name;
  }
}

// Infinite values at a later position of the same block do not reach the tokens before it.
TEST_F(Attention, LaterPositionsDoNotReachBack) {
  for (const KernelTable* table : tables()) {
    const KvLayout layout{KvType::kF16, 64};
    Cache cache(layout, 6, any_place());
    for (int32_t p = 0; p < 5; ++p) {
      cache.store(*table, normals(64, 1.0F), normals(64, 1.0F));
    }
    cache.store(*table, normals(64, 1.0F),
                std::vector<float>(64, std::numeric_limits<float>::infinity()));
    const std::vector<float> q = normals(int64_t{3} * 64, 1.0F);
    const std::vector<float> states = run(*table, {q.data(), 64, 3, 1, 3, 1.0F}, cache, 0, 6);
    const int64_t floats = attention_state_floats(layout);
    for (int64_t i = 0; i < 2 * floats; ++i) {
      if (i % floats >= kAttentionHeader) {
        ASSERT_TRUE(std::isfinite(states[static_cast<size_t>(i)])) << table->name;
      }
    }
    EXPECT_FALSE(std::isfinite(states[static_cast<size_t>(2 * floats + kAttentionHeader)]));
  }
}

TEST_F(Attention, ScoresMayBeAsLargeAsTheyLike) {
  for (const KernelTable* table : tables()) {
    const KvLayout layout{KvType::kF16, 16};
    Cache cache(layout, 100, any_place());
    for (int32_t p = 0; p < 100; ++p) {
      cache.store(*table, std::vector<float>(16, p == 70 ? 100.0F : -100.0F),
                  std::vector<float>(16, static_cast<float>(p)));
    }
    const std::vector<float> q(16, 1000.0F);
    std::vector<float> states = run(*table, {q.data(), 16, 1, 1, 99, 1.0F}, cache, 0, 100);
    const AttentionState state = attention_state(states.data());
    EXPECT_EQ(state.out[15] / *state.sum, 70.0F) << table->name;
  }
}

}  // namespace
}  // namespace tern::testing
