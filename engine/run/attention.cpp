#include "engine/run/attention.h"

#include <algorithm>
#include <cmath>

#include "engine/base/parallel.h"

namespace tern {
namespace {

// Positions summed together: a multiple of kKvBlock, small enough to share out few heads evenly, large enough to make merging
// cheap beside it.
constexpr int32_t kSegment = 256;
// Rows (token, head) of one call: they share keys and values while these are in L1, and their sums stay in L2.
constexpr int32_t kRows = 64;
// Passes of so few tokens are split by segments too: heads alone would not occupy the threads.
constexpr int32_t kSplitTokens = 16;

int32_t group_of(const ModelConfig& config) {
  return config.heads / config.kv_heads;
}
int32_t tile_tokens(const ModelConfig& config) {
  return std::max(1, kRows / group_of(config));
}
int32_t segments(int64_t positions) {
  return static_cast<int32_t>((positions + kSegment - 1) / kSegment);
}
// Tokens of a pass that is split by segments.
int32_t split_tokens(const ModelConfig& config) {
  return std::min(kSplitTokens, tile_tokens(config));
}

size_t round_to_line(size_t bytes) {
  return static_cast<size_t>(round_up(static_cast<int64_t>(bytes), 64));
}

// The kernel's scratch, and the states of two segments.
size_t scratch_bytes(const ModelConfig& config, const KvLayout& layout) {
  const int32_t rows = tile_tokens(config) * group_of(config);
  const auto state = static_cast<size_t>(attention_state_floats(layout)) * sizeof(float);
  return round_to_line(attention_scratch_bytes(layout, rows)) +
         2 * static_cast<size_t>(rows) * state;
}

size_t state_bytes(const ModelConfig& config, const KvLayout& layout, int64_t batch,
                   int64_t context) {
  const int64_t tokens = std::min<int64_t>(batch, split_tokens(config));
  return static_cast<size_t>(segments(context) * tokens * config.heads *
                             attention_state_floats(layout)) *
         sizeof(float);
}

// Sums over two parts of the positions become those over both: each is brought to the larger maximum. A row may have seen
// nothing of `into` (then 0 is kept of it), for its window may begin a segment later than that of the first row; not more than
// one, as tiles are shorter than segments.
static_assert(kRows <= kSegment);
void merge(const AttentionState& into, const AttentionState& from, const KvLayout& layout) {
  const float max = std::max(*into.max, *from.max);
  const float keep = std::exp(*into.max - max);
  const float add = std::exp(*from.max - max);
  *into.max = max;
  *into.sum = *into.sum * keep + *from.sum * add;
  for (int32_t i = 0; i < layout.slabs() * kKvLine; ++i) {
    into.out[i] = into.out[i] * keep + from.out[i] * add;
  }
}

void finish(const AttentionState& state, int32_t dims, float* out) {
  const float scale = 1.0F / *state.sum;
  for (int32_t i = 0; i < dims; ++i) {
    out[i] = state.out[i] * scale;
  }
}

class Attention {
 public:
  Attention(const ModelConfig& config, const Compute& compute, KvCache& cache,
            const AttentionStep& step, AttentionMemory& memory)
      : config_(config),
        compute_(compute),
        cache_(cache),
        step_(step),
        memory_(memory),
        layout_(cache.layout()),
        group_(group_of(config)),
        state_floats_(attention_state_floats(layout_)) {}

  void run() {
    if (step_.tokens <= split_tokens(config_)) {
      split_by_segments();
    } else {
      split_by_tokens();
    }
  }

 private:
  int32_t end() const { return step_.first_position + step_.tokens; }

  int threads() const {
    const int64_t bytes_of_position =
        static_cast<int64_t>(layout_.block_bytes()) / kKvBlock * config_.kv_heads;
    const int64_t positions = end() - queries(0, 0, step_.tokens).first_seen(0);
    return compute_.threads_for(bytes_of_position * positions * (1 + step_.tokens / 4));
  }

  AttentionQueries queries(int32_t kv_head, int32_t first_token, int32_t tokens) const {
    const int64_t width = config_.q_width();
    const int64_t offset = first_token * width + int64_t{kv_head} * group_ * config_.head_dim;
    return {
        step_.q + offset,        width,       tokens, group_, step_.first_position + first_token,
        config_.attention_scale, step_.window};
  }

  void sum_segment(const AttentionQueries& rows, int32_t kv_head, int32_t segment, float* states,
                   uint8_t* scratch) {
    const int32_t begin = segment * kSegment;
    const int32_t end = std::min(begin + kSegment, rows.first_position + rows.tokens);
    const int32_t first_block = rows.first_seen(0) / kKvBlock * kKvBlock;
    compute_.kernels->attention(rows, layout_, cache_.head(step_.layer, kv_head),
                                std::max(begin, first_block), end, states, scratch);
  }

  float* out(int32_t kv_head, int32_t token, int32_t head) const {
    return step_.out + int64_t{token} * config_.q_width() +
           (int64_t{kv_head} * group_ + head) * config_.head_dim;
  }

  // Few tokens: every (kv head, segment) is a piece of work.
  void split_by_segments() {
    const int32_t first_segment = queries(0, 0, step_.tokens).first_seen(0) / kSegment;
    const int32_t parts = segments(end()) - first_segment;
    const int64_t part_floats = int64_t{step_.tokens} * group_ * state_floats_;
    const int64_t work = int64_t{config_.kv_heads} * parts;
    parallel_tiles(threads(), static_cast<int>(work), work, 1,
                   [&](int64_t begin, int64_t last, int thread) {
                     for (int64_t i = begin; i < last; ++i) {
                       const auto kv_head = static_cast<int32_t>(i / parts);
                       sum_segment(queries(kv_head, 0, step_.tokens), kv_head,
                                   first_segment + static_cast<int32_t>(i % parts),
                                   memory_.states() + i * part_floats, memory_.of(thread));
                     }
                   });
    parallel_for(
        compute_.threads_for(work * part_floats * int64_t{sizeof(float)}),
        int64_t{config_.kv_heads} * step_.tokens, 1, [&](int64_t begin, int64_t last, int) {
          for (int64_t i = begin; i < last; ++i) {
            const auto kv_head = static_cast<int32_t>(i / step_.tokens);
            const auto token = static_cast<int32_t>(i % step_.tokens);
            const int32_t seen = segments(step_.first_position + token + 1) - first_segment;
            for (int32_t head = 0; head < group_; ++head) {
              float* first = memory_.states() + kv_head * parts * part_floats +
                             (int64_t{token} * group_ + head) * state_floats_;
              for (int32_t part = 1; part < seen; ++part) {
                merge(attention_state(first), attention_state(first + part * part_floats), layout_);
              }
              finish(attention_state(first), config_.head_dim, out(kv_head, token, head));
            }
          }
        });
  }

  // Many tokens: every (kv head, tile of tokens) is a piece of work, and walks its segments. Heads first: later tokens look at
  // more positions, so that runs of whole heads give each thread the same mix.
  void split_by_tokens() {
    const int32_t tile = tile_tokens(config_);
    const int32_t tiles = (step_.tokens + tile - 1) / tile;
    const int64_t work = int64_t{config_.kv_heads} * tiles;
    parallel_tiles(threads(), static_cast<int>(work), work, 1,
                   [&](int64_t begin, int64_t last, int thread) {
                     for (int64_t i = begin; i < last; ++i) {
                       const auto first = static_cast<int32_t>(i % tiles) * tile;
                       attend_tile(static_cast<int32_t>(i / tiles), first,
                                   std::min(tile, step_.tokens - first), memory_.of(thread));
                     }
                   });
  }

  void attend_tile(int32_t kv_head, int32_t first_token, int32_t tokens, uint8_t* scratch) {
    const AttentionQueries rows = queries(kv_head, first_token, tokens);
    const int32_t count = tokens * group_;
    auto* sums = reinterpret_cast<float*>(
        scratch + round_to_line(attention_scratch_bytes(layout_, tile_tokens(config_) * group_)));
    float* part = sums + count * state_floats_;
    const int32_t first_segment = rows.first_seen(0) / kSegment;
    sum_segment(rows, kv_head, first_segment, sums, scratch);
    for (int32_t segment = first_segment + 1; segment < segments(rows.first_position + tokens);
         ++segment) {
      sum_segment(rows, kv_head, segment, part, scratch);
      // Rows of tokens before the segment have nothing to merge.
      const int32_t first = std::max(0, segment * kSegment - rows.first_position);
      for (int32_t row = first * group_; row < count; ++row) {
        merge(attention_state(sums + row * state_floats_),
              attention_state(part + row * state_floats_), layout_);
      }
    }
    for (int32_t row = 0; row < count; ++row) {
      finish(attention_state(sums + row * state_floats_), config_.head_dim,
             out(kv_head, first_token + row / group_, row % group_));
    }
  }

  const ModelConfig& config_;
  const Compute& compute_;
  KvCache& cache_;
  const AttentionStep& step_;
  AttentionMemory& memory_;
  const KvLayout& layout_;
  int32_t group_;
  int64_t state_floats_;
};

}  // namespace

AttentionMemory::AttentionMemory(const ModelConfig& config, const KvLayout& layout, int32_t batch,
                                 int32_t context, int threads)
    : buffer_(bytes(config, layout, batch, context, threads), Pages::kSmall),
      thread_bytes_(round_to_line(scratch_bytes(config, layout))),
      threads_(static_cast<size_t>(threads)) {}

size_t AttentionMemory::bytes(const ModelConfig& config, const KvLayout& layout, int64_t batch,
                              int64_t context, int threads) {
  return static_cast<size_t>(threads) * round_to_line(scratch_bytes(config, layout)) +
         state_bytes(config, layout, batch, context);
}

void attend(const ModelConfig& config, const Compute& compute, KvCache& cache,
            const AttentionStep& step, AttentionMemory& memory) {
  Attention(config, compute, cache, step, memory).run();
}

}  // namespace tern
