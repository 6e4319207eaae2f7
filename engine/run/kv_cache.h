#pragma once
// What is remembered of the positions seen so far: keys and values, and the state of recurrent layers.

#include <cstdint>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "engine/run/recurrent_state.h"
#include "kernels/kernels.h"

namespace tern {

// One contiguous run of blocks (kernels/kv.h) per (attention layer, kv head), so that attention of a head reads one stream. Each run fills
// from its front: memory becomes resident as the context grows.
class KvCache {
 public:
  KvCache() = default;
  KvCache(const ModelConfig& config, int32_t capacity, KvType type = KvType::kF16)
      : layout_{type, config.head_dim},
        heads_(config.kv_heads),
        capacity_(capacity),
        blocks_(bytes(config, capacity, type), Pages::kSmall),
        recurrent_(config) {}

  // Of keys and values alone.
  static size_t bytes(const ModelConfig& config, int64_t capacity, KvType type = KvType::kF16) {
    return static_cast<size_t>(config.attention_layers()) * static_cast<size_t>(config.kv_heads) *
           run_bytes(KvLayout{type, config.head_dim}, capacity);
  }

  int32_t capacity() const { return capacity_; }
  const KvLayout& layout() const { return layout_; }
  RecurrentState& recurrent() { return recurrent_; }
  // `slot`: which of the attention layers.
  uint8_t* head(int32_t slot, int32_t head) {
    const auto run =
        static_cast<size_t>(slot) * static_cast<size_t>(heads_) + static_cast<size_t>(head);
    return blocks_.data() + run * run_bytes(layout_, capacity_);
  }

 private:
  static size_t run_bytes(const KvLayout& layout, int64_t capacity) {
    return static_cast<size_t>(KvLayout::blocks(capacity)) * layout.block_bytes();
  }

  KvLayout layout_;
  int32_t heads_ = 0;
  int32_t capacity_ = 0;
  AlignedArray<uint8_t> blocks_;
  RecurrentState recurrent_;
};

}  // namespace tern
