#pragma once
// Attention over the KV cache: softmax(q k^T * scale) v, causal, over all positions or a window of the last.
//
// The query heads that share a kv head are computed together, for several tokens at once, so that keys and values are loaded
// once for all of them. Positions are cut into segments of kSegment, each summed by itself and then merged in order: a token's
// result depends neither on how segments were split over threads nor on what else was in its batch.

#include <cstdint>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "engine/run/compute.h"
#include "engine/run/kv_cache.h"

namespace tern {

// Memory of attend() for passes of up to `batch` tokens on up to `threads` threads.
class AttentionMemory {
 public:
  AttentionMemory() = default;
  AttentionMemory(const ModelConfig& config, const KvLayout& layout, int32_t batch, int32_t context,
                  int threads);
  static size_t bytes(const ModelConfig& config, const KvLayout& layout, int64_t batch,
                      int64_t context, int threads);

  float* states() { return reinterpret_cast<float*>(buffer_.data() + threads_ * thread_bytes_); }
  uint8_t* of(int thread) {
    return reinterpret_cast<uint8_t*>(buffer_.data() + static_cast<size_t>(thread) * thread_bytes_);
  }

 private:
  AlignedBuffer buffer_;
  size_t thread_bytes_ = 0;
  size_t threads_ = 0;
};

// q, out: tokens x q_width. Keys and values of all positions up to first_position + tokens are in the cache.
struct AttentionStep {
  const float* q = nullptr;
  float* out = nullptr;
  int32_t tokens = 0;
  int32_t first_position = 0;
  int32_t layer = 0;
  int32_t window = 0;  // as in LayerConfig
};
void attend(const ModelConfig& config, const Compute& compute, KvCache& cache,
            const AttentionStep& step, AttentionMemory& memory);

}  // namespace tern
