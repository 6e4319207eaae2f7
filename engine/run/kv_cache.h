#pragma once
// Keys and values of the positions seen so far, as halves.

#include <cstdint>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "kernels/kernels.h"

namespace tern {

// One contiguous run of positions per (layer, kv head), so that attention of a head reads one stream. Each run fills from its
// front: memory becomes resident as the context grows.
class KvCache {
 public:
  KvCache() = default;
  KvCache(const ModelConfig& config, int32_t capacity)
      : heads_(config.kv_heads),
        dims_(config.head_dim),
        capacity_(capacity),
        keys_(size_of(config, capacity), Pages::kSmall),
        values_(size_of(config, capacity), Pages::kSmall) {}

  static size_t bytes(const ModelConfig& config, int64_t capacity) {
    return 2 * sizeof(Half) * size_of(config, capacity);
  }

  int32_t capacity() const { return capacity_; }
  // Values from one position to the next.
  int64_t stride() const { return dims_; }
  Half* keys(int32_t layer, int32_t head, int32_t position) {
    return keys_.data() + at(layer, head, position);
  }
  Half* values(int32_t layer, int32_t head, int32_t position) {
    return values_.data() + at(layer, head, position);
  }

 private:
  static size_t size_of(const ModelConfig& config, int64_t capacity) {
    return static_cast<size_t>(config.layers) * static_cast<size_t>(config.kv_width()) *
           static_cast<size_t>(capacity);
  }
  size_t at(int32_t layer, int32_t head, int32_t position) const {
    const auto run =
        static_cast<size_t>(layer) * static_cast<size_t>(heads_) + static_cast<size_t>(head);
    return (run * static_cast<size_t>(capacity_) + static_cast<size_t>(position)) *
           static_cast<size_t>(dims_);
  }

  int32_t heads_ = 0;
  int32_t dims_ = 0;
  int32_t capacity_ = 0;
  AlignedArray<Half> keys_;
  AlignedArray<Half> values_;
};

}  // namespace tern
