#pragma once
// The forward pass of a decoder-only transformer: the page to read first.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/base/parallel.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "engine/run/attention.h"
#include "engine/run/compute.h"
#include "engine/run/delta_net.h"
#include "engine/run/experts.h"
#include "engine/run/head.h"
#include "engine/run/kv_cache.h"
#include "engine/run/linear.h"

namespace tern {

// Norm vectors that an architecture lacks are empty.
struct LayerWeights {
  std::span<const float> attn_norm, q_norm, k_norm, attn_sub_norm, attn_post_norm;
  std::span<const float> ffn_norm, ffn_sub_norm, ffn_post_norm;
  Linear q, k, v, o;                         // of attention layers
  std::optional<DeltaNetWeights> delta_net;  // of recurrent ones
  Linear gate, up, down;
  std::optional<ExpertWeights> experts;  // instead of them

  // Calls f(linear) for every matrix that every token meets: not for those of experts.
  template <class F>
  void for_each_linear(F f) const {
    if (delta_net) {
      for (const Linear* w : {&delta_net->qkv, &delta_net->gate, &delta_net->alpha,
                              &delta_net->beta, &delta_net->out}) {
        f(*w);
      }
    } else {
      for (const Linear* w : {&q, &k, &v, &o}) {
        f(*w);
      }
    }
    if (experts) {
      f(experts->router);
      return;
    }
    for (const Linear* w : {&gate, &up, &down}) {
      f(*w);
    }
  }
};

struct DecoderWeights {
  Embedding embedding;
  Rotation embedding_rotation;  // that of its rows
  std::vector<LayerWeights> layers;
  std::span<const float> output_norm;
  Linear head;
};

// Memory of one forward pass over up to `batch` tokens and a cache. Nothing is allocated after its creation. What products write
// (q, k, v, q_gate, out, gate, up, logits) has room for planes_of(config.activations) times the rows.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const ModelConfig& config, const DecoderWeights& weights, const Compute& compute,
            const KvCache& cache, int32_t batch);
  // What all of that takes. Of the weights only shapes matter.
  static size_t bytes(const ModelConfig& config, const DecoderWeights& weights,
                      const Compute& compute, const KvLayout& kv, int32_t batch, int32_t context);

  int32_t batch = 0;
  AlignedArray<float> x;          // batch x width: the residual stream
  AlignedArray<float> norm;       // batch x width
  AlignedArray<float> q, k, v;    // batch x q_width, kv_width, kv_width
  AlignedArray<float> q_gate;     // batch x heads x (query, gate), where attention is gated
  AlignedArray<float> attention;  // batch x q_width
  AlignedArray<float> out;        // batch x width: what a block adds to x
  AlignedArray<float> gate, up;   // batch x ffn
  AlignedArray<float> input;      // batch x the widest input: of products with a norm of their own
  AlignedArray<float> cos, sin;   // ropes x batch x most_rope_dims / 2
  AlignedArray<int8_t> trits;     // width: one row of a ternary embedding
  AlignedArray<float> logits;     // kLogitsBatch x vocab
  QuantizedRows quantized;
  AttentionMemory attention_memory;
  DeltaNetMemory delta_net;
  ExpertMemory experts;
  HeadWorkspace head;
  ThreadScratch scratch;
};

// Runs `tokens` (1 to workspace.batch ids within the vocabulary) at positions first_position and on; there must be room for
// them in `cache`, whose recurrent state, if any, is that of first_position positions. Afterwards workspace.x holds the last layer's output of each token. Asks `keep_going` between layers;
// returns false, with the cache's new positions undefined (and the recurrent state as before), as soon as that does.
bool decoder_forward(const ModelConfig& config, const DecoderWeights& weights,
                     const Compute& compute, KvCache& cache, Workspace& workspace,
                     std::span<const int32_t> tokens, int32_t first_position,
                     FunctionRef<bool()> keep_going);

// The last layer's output of `count` tokens of the last forward pass, from its `first` on, through the output norm: count x
// width floats in workspace.norm.
std::span<const float> decoder_states(const ModelConfig& config, const DecoderWeights& weights,
                                      const Compute& compute, Workspace& workspace, int32_t first,
                                      int32_t count);

// Logits of `count` (up to kLogitsBatch) tokens of the last forward pass, from its `first` on: count x vocab floats in
// workspace.logits. Logits that are not wanted may be minus infinity.
std::span<const float> decoder_logits(const ModelConfig& config, const DecoderWeights& weights,
                                      const Compute& compute, Workspace& workspace, int32_t first,
                                      int32_t count, const LogitsWanted& wanted = {});

}  // namespace tern
