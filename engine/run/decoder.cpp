#include "engine/run/decoder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <type_traits>

#include "engine/run/hadamard.h"

#include "engine/run/lora.h"

namespace tern {
namespace {

// One pass: what every step below needs.
struct Pass {
  const ModelConfig& config;
  const Compute& compute;
  KvCache& cache;
  Workspace& ws;
  int32_t tokens;
  int32_t first_position;

  const KernelTable& kernels() const { return *compute.kernels; }
};

float* row(AlignedArray<float>& array, int64_t token, int64_t width) {
  return array.data() + token * width;
}

// body(token), or body(token, thread). `values`: how many floats one token's step reads.
template <class Body>
void for_each_token(const Pass& pass, int64_t values, Body body) {
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  parallel_for(pass.compute.threads_for(values * kFloat * pass.tokens), pass.tokens, 1,
               [&](int64_t begin, int64_t end, int thread) {
                 for (int64_t t = begin; t < end; ++t) {
                   if constexpr (std::is_invocable_v<Body, int32_t, int>) {
                     body(static_cast<int32_t>(t), thread);
                   } else {
                     body(static_cast<int32_t>(t));
                   }
                 }
               });
}

// The widest input of any product.
int32_t widest_input(const ModelConfig& config) {
  return std::max({config.width, config.q_width(), config.ffn, config.delta_net.values()});
}

bool any_ternary(std::span<const Product> products) {
  return std::any_of(products.begin(), products.end(),
                     [](const Product& product) { return product.w->ternary(); });
}

// out = norm(x) * weight, as the configuration says. `out` may be x only for NormKind::kRms.
void normalize(const ModelConfig& config, const KernelTable& kernels, const float* x,
               std::span<const float> weight, float* out) {
  const auto n = static_cast<int32_t>(weight.size());
  if (config.norm == NormKind::kLayer) {
    double sum = 0;
    for (int32_t i = 0; i < n; ++i) {
      sum += static_cast<double>(x[i]);
    }
    const auto mean = static_cast<float>(sum / n);
    for (int32_t i = 0; i < n; ++i) {
      out[i] = x[i] - mean;
    }
    x = out;
  }
  kernels.rms_norm(x, weight.data(), n, config.norm_eps, out);
}

// What a block's products read: x, rms_norm(x) * weight in `out`, and that quantised. Lacking a norm, x itself.
struct Norm {
  AlignedArray<float>& x;
  std::span<const float> weight;
  AlignedArray<float>& out;
  int32_t width;
};

// The product with a matrix that has a norm of its own.
void multiply_own_input(const Pass& pass, AlignedArray<float>& x, int32_t width,
                        const Product& product) {
  Workspace& ws = pass.ws;
  for_each_token(pass, width, [&](int32_t t, int thread) {
    float* input = row(ws.input, t, width);
    pass.kernels().rms_norm(row(x, t, width), product.w->input_norm.data(), width,
                            pass.config.norm_eps, input);
    if (product.w->ternary()) {
      ws.quantized.quantize(pass.kernels(), input, t, pass.tokens, width,
                            reinterpret_cast<float*>(ws.scratch.of(thread)));
    }
  });
  multiply(pass.compute, {ws.input.data(), ws.quantized.view(pass.tokens, width), pass.tokens},
           {&product, 1}, ws.scratch);
}

// As many products as a block has with one input.
constexpr size_t kMostProducts = 4;

bool is_rotated(const Product& product) {
  return product.w->rotation.block > 0;
}

// products = W norm(x), timed as `part`, after `before(t)` has completed each token's x: one step for all that a token's row goes through between
// two products.
template <class Before>
void multiply_normed(const Pass& pass, PassPart part, const Norm& norm,
                     std::span<const Product> products, int64_t values_before, Before before) {
  AlignedArray<float>& result = norm.weight.empty() ? norm.x : norm.out;
  const bool own_inputs = pass.config.input_norms;
  // Products with the input as it is go before those with the input rotated, which has one rotation for each width.
  std::array<Product, kMostProducts> ordered;
  TERN_CHECK(products.size() <= kMostProducts, "a block has more products than it should");
  Product* end = std::copy(products.begin(), products.end(), ordered.data());
  Product* border = std::partition(ordered.data(), end, std::not_fn(is_rotated));
  const std::span<const Product> plain(ordered.data(), border);
  const std::span<const Product> rotated(border, end);
  const std::span<const Product> first = plain.empty() ? rotated : plain;
  const auto complete = [&](int32_t t, int thread, std::span<const Product> readers) {
    if (is_rotated(readers.front())) {
      rotate(readers.front().w->rotation, row(result, t, norm.width), norm.width,
             reinterpret_cast<float*>(pass.ws.scratch.of(thread)));
    }
    if (!own_inputs && any_ternary(readers)) {
      pass.ws.quantized.quantize(pass.kernels(), row(result, t, norm.width), t, pass.tokens,
                                 norm.width, reinterpret_cast<float*>(pass.ws.scratch.of(thread)));
    }
  };
  for_each_token(pass, norm.width + values_before, [&](int32_t t, int thread) {
    before(t);
    if (!norm.weight.empty()) {
      normalize(pass.config, pass.kernels(), row(norm.x, t, norm.width), norm.weight,
                row(norm.out, t, norm.width));
    }
    complete(t, thread, first);
  });
  pass.compute.lap(PassPart::kRest);
  if (own_inputs) {
    for (const Product& product : products) {
      multiply_own_input(pass, result, norm.width, product);
    }
  } else {
    const auto multiply_by = [&](std::span<const Product> readers) {
      multiply(pass.compute,
               {result.data(), pass.ws.quantized.view(pass.tokens, norm.width), pass.tokens},
               readers, pass.ws.scratch);
    };
    multiply_by(first);
    if (!plain.empty() && !rotated.empty()) {
      for_each_token(pass, norm.width,
                     [&](int32_t t, int thread) { complete(t, thread, rotated); });
      multiply_by(rotated);
    }
  }
  pass.compute.lap(part);
}

// Where the angles of one token under one rope stand.
int64_t angles_at(const Pass& pass, int32_t rope, int32_t t) {
  return (int64_t{rope} * pass.ws.batch + t) * (pass.config.most_rope_dims() / 2);
}

void compute_angles(const Pass& pass) {
  const auto ropes = static_cast<int32_t>(pass.config.ropes.size());
  for_each_token(pass, int64_t{ropes} * pass.config.most_rope_dims(), [&](int32_t t) {
    for (int32_t which = 0; which < ropes; ++which) {
      const Rope& rope = pass.config.ropes[static_cast<size_t>(which)];
      float* cos = pass.ws.cos.data() + angles_at(pass, which, t);
      float* sin = pass.ws.sin.data() + angles_at(pass, which, t);
      for (size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
        const float angle =
            static_cast<float>(pass.first_position + t) * rope.inverse_frequencies[i];
        cos[i] = std::cos(angle) * rope.magnitude;
        sin[i] = std::sin(angle) * rope.magnitude;
      }
    }
  });
}

// Per-head norm (where the architecture has one) and rotation (where the layer has one), in place.
void rotate_heads(const Pass& pass, int32_t which_rope, int32_t t, float* heads, int32_t count,
                  std::span<const float> norm) {
  const ModelConfig& config = pass.config;
  const auto normalize_head = [&](float* head) {
    pass.kernels().rms_norm(head, norm.data(), config.head_dim, config.norm_eps, head);
  };
  for (int32_t h = 0; h < count; ++h) {
    float* head = heads + static_cast<int64_t>(h) * config.head_dim;
    if (config.qk_norms == QkNorms::kBeforeRope) {
      normalize_head(head);
    }
    if (which_rope != LayerConfig::kNoRope) {
      const Rope& rope = config.ropes[static_cast<size_t>(which_rope)];
      const int64_t angles = angles_at(pass, which_rope, t);
      pass.kernels().rope(head, pass.ws.cos.data() + angles, pass.ws.sin.data() + angles, rope.dims,
                          rope.rotate_half);
    }
    if (config.qk_norms == QkNorms::kAfterRope) {
      normalize_head(head);
    }
  }
}

// Of the pairs (query, gate) of each head the queries.
void take_queries(const Pass& pass, int32_t t) {
  const ModelConfig& config = pass.config;
  const float* pairs = row(pass.ws.q_gate, t, 2 * int64_t{config.q_width()});
  float* q = row(pass.ws.q, t, config.q_width());
  for (int32_t h = 0; h < config.heads; ++h) {
    std::copy_n(pairs + 2 * int64_t{h} * config.head_dim, config.head_dim,
                q + int64_t{h} * config.head_dim);
  }
}

// attention *= sigmoid(gate), head by head.
void gate_attention(const Pass& pass, int32_t t) {
  const ModelConfig& config = pass.config;
  const float* pairs = row(pass.ws.q_gate, t, 2 * int64_t{config.q_width()});
  float* out = row(pass.ws.attention, t, config.q_width());
  for (int32_t h = 0; h < config.heads; ++h, out += config.head_dim) {
    const float* gate = pairs + (2 * int64_t{h} + 1) * config.head_dim;
    for (int32_t i = 0; i < config.head_dim; ++i) {
      out[i] /= 1.0F + std::exp(-gate[i]);
    }
  }
}

void rotate_and_store(const Pass& pass, const LayerWeights& layer, int32_t index) {
  const ModelConfig& config = pass.config;
  const int32_t slot = config.slot(index);
  const int32_t rope = config.layer_configs[static_cast<size_t>(index)].rope;
  for_each_token(pass, config.q_width() + 2 * config.kv_width(), [&](int32_t t) {
    if (config.gated_attention) {
      take_queries(pass, t);
    }
    float* k = row(pass.ws.k, t, config.kv_width());
    rotate_heads(pass, rope, t, row(pass.ws.q, t, config.q_width()), config.heads, layer.q_norm);
    rotate_heads(pass, rope, t, k, config.kv_heads, layer.k_norm);
    const float* v = row(pass.ws.v, t, config.kv_width());
    for (int32_t h = 0; h < config.kv_heads; ++h) {
      const int64_t offset = static_cast<int64_t>(h) * config.head_dim;
      store_kv(pass.kernels().to_half, pass.cache.layout(), pass.first_position + t, k + offset,
               v + offset, pass.cache.head(slot, h));
    }
  });
}

// x += what the block before put out, through its norm where the architecture has one.
void add_to_residual(const Pass& pass, int32_t t, std::span<const float> post_norm) {
  const int32_t width = pass.config.width;
  float* out = row(pass.ws.out, t, width);
  if (!post_norm.empty()) {
    normalize(pass.config, pass.kernels(), out, post_norm, out);
  }
  pass.kernels().add(row(pass.ws.x, t, width), out, width);
}

// products = W norm(x), once the layer before has been added to x.
void multiply_layer_input(const Pass& pass, std::span<const LayerWeights> layers, int32_t index,
                          std::span<const Product> products) {
  const int32_t width = pass.config.width;
  multiply_normed(pass, PassPart::kProjections,
                  {pass.ws.x, layers[static_cast<size_t>(index)].attn_norm, pass.ws.norm, width},
                  products, width, [&](int32_t t) {
                    if (index > 0) {
                      add_to_residual(pass, t,
                                      layers[static_cast<size_t>(index - 1)].ffn_post_norm);
                    }
                  });
}

// out = Wo sub_norm(attention(rope(Wq n), rope(Wk n), Wv n)), n = norm(x).
void attention_block(const Pass& pass, std::span<const LayerWeights> layers, int32_t index) {
  const LayerWeights& layer = layers[static_cast<size_t>(index)];
  Workspace& ws = pass.ws;
  const ModelConfig& config = pass.config;
  const int32_t slot = config.slot(index);
  const Product qkv[] = {{&layer.q, (config.gated_attention ? ws.q_gate : ws.q).data()},
                         {&layer.k, ws.k.data()},
                         {&layer.v, ws.v.data()}};
  multiply_layer_input(pass, layers, index, qkv);
  rotate_and_store(pass, layer, index);
  pass.compute.lap(PassPart::kRest);
  attend(config, pass.compute, pass.cache,
         {ws.q.data(), ws.attention.data(), pass.tokens, pass.first_position, slot,
          config.layer_configs[static_cast<size_t>(index)].window},
         ws.attention_memory);
  pass.compute.lap(PassPart::kAttention);
  const Product output[] = {{&layer.o, ws.out.data()}};
  multiply_normed(pass, PassPart::kProjections,
                  {ws.attention, layer.attn_sub_norm, ws.q, config.q_width()}, output, 0,
                  [&](int32_t t) {
                    if (config.gated_attention) {
                      gate_attention(pass, t);
                    }
                  });
}

// out = Wout delta_net(Wqkv n, ...), n = norm(x).
void recurrent_block(const Pass& pass, std::span<const LayerWeights> layers, int32_t index) {
  const DeltaNetWeights& w = *layers[static_cast<size_t>(index)].delta_net;
  DeltaNetMemory& memory = pass.ws.delta_net;
  const Product inputs[] = {{&w.qkv, memory.qkv.data()},
                            {&w.gate, memory.gate.data()},
                            {&w.alpha, memory.alpha.data()},
                            {&w.beta, memory.beta.data()}};
  multiply_layer_input(pass, layers, index, inputs);
  delta_net(pass.config, pass.compute, w, memory, pass.cache.recurrent(), pass.config.slot(index),
            pass.tokens);
  pass.compute.lap(PassPart::kAttention);
  const Product output[] = {{&w.out, pass.ws.out.data()}};
  multiply_normed(pass, PassPart::kProjections,
                  {memory.out, {}, memory.out, pass.config.delta_net.values()}, output, 0,
                  [](int32_t) {});
}

using ActivateMul = void (*)(float* gate, const float* up, int32_t n) noexcept;
ActivateMul activation_of(const Pass& pass) {
  switch (pass.config.activation) {
    case Activation::kRelu2:
      return pass.kernels().relu2_mul;
    case Activation::kGelu:
      return pass.kernels().gelu_mul;
    case Activation::kSilu:
      break;
  }
  return pass.kernels().silu_mul;
}

// out = Wdown sub_norm(activation(Wgate n) * Wup n), n = norm(x), once attention has been added to x; or n as attention read it.
void feed_forward_block(const Pass& pass, const LayerWeights& layer) {
  Workspace& ws = pass.ws;
  const int32_t width = pass.config.width;
  const int32_t ffn = pass.config.ffn;
  const Product gate_up[] = {{&layer.gate, ws.gate.data()}, {&layer.up, ws.up.data()}};
  const Norm input{pass.config.parallel ? ws.norm : ws.x, layer.ffn_norm, ws.norm, width};
  multiply_normed(pass, PassPart::kFeedForward, input, gate_up, width,
                  [&](int32_t t) { add_to_residual(pass, t, layer.attn_post_norm); });
  const ActivateMul activate = activation_of(pass);
  const Product down[] = {{&layer.down, ws.out.data()}};
  multiply_normed(pass, PassPart::kFeedForward, {ws.gate, layer.ffn_sub_norm, ws.up, ffn}, down,
                  2 * int64_t{ffn},
                  [&](int32_t t) { activate(row(ws.gate, t, ffn), row(ws.up, t, ffn), ffn); });
}

// out = the chosen experts' feed-forward of n, n = norm(x), once attention has been added to x.
void expert_block(const Pass& pass, const LayerWeights& layer) {
  Workspace& ws = pass.ws;
  const int32_t width = pass.config.width;
  const Product router[] = {{&layer.experts->router, ws.experts.scores.data()}};
  multiply_normed(pass, PassPart::kFeedForward, {ws.x, layer.ffn_norm, ws.norm, width}, router,
                  width, [&](int32_t t) { add_to_residual(pass, t, layer.attn_post_norm); });
  run_experts(pass.config, pass.compute, *layer.experts, ws.experts, ws.quantized, ws.scratch,
              ws.norm.data(), ws.out.data(), pass.tokens);
  pass.compute.lap(PassPart::kFeedForward);
}

// All layers in turn, each on as many threads as the tuner says; false if `keep_going` said no.
bool run_layers(const Pass& pass, std::span<const LayerWeights> layers, Compute& compute,
                FunctionRef<bool()> keep_going) {
  using Clock = std::chrono::steady_clock;
  ThreadTuner* tuner = compute.tuner;
  Clock::time_point begin = Clock::now();
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto index = static_cast<int32_t>(i);
    if (!keep_going()) {
      return false;
    }
    if (tuner != nullptr) {
      compute.threads = tuner->threads_for_layer(index);
    }
    if (layers[i].delta_net) {
      recurrent_block(pass, layers, index);
    } else {
      attention_block(pass, layers, index);
    }
    if (layers[i].experts) {
      expert_block(pass, layers[i]);
    } else {
      feed_forward_block(pass, layers[i]);
    }
    if (tuner != nullptr) {
      const Clock::time_point end = Clock::now();
      tuner->end_layer(index, std::chrono::duration<double>(end - begin).count());
      begin = end;
    }
  }
  for_each_token(pass, pass.config.width,
                 [&](int32_t t) { add_to_residual(pass, t, layers.back().ffn_post_norm); });
  if (tuner != nullptr) {
    tuner->end_pass();
  }
  return true;
}

size_t scratch_bytes(const KernelTable& kernels, const ModelConfig& config,
                     const DecoderWeights& weights, int32_t batch) {
  const Activations activations = config.activations;
  size_t most = std::max(
      QuantizedRows::scratch_floats(widest_input(config)) * sizeof(float),
      linear_scratch_bytes(kernels, weights.head, std::min(batch, kLogitsBatch), activations));
  for (const LayerWeights& layer : weights.layers) {
    layer.for_each_linear([&](const Linear& w) {
      most = std::max(most, linear_scratch_bytes(kernels, w, batch, activations));
    });
    if (layer.experts) {
      for (const ExpertMatrix* w : {layer.experts->gate, layer.experts->up, layer.experts->down}) {
        most = std::max(most, linear_scratch_bytes(kernels, w->shape(), batch, activations));
      }
    }
  }
  return most;
}

// Room for a token's products with the adapters of any step.
size_t lora_floats(const DecoderWeights& weights) {
  int64_t most = 0;
  for (const LayerWeights& layer : weights.layers) {
    int64_t width = 0;
    layer.for_each_linear([&](const Linear& w) {
      const Product product[] = {{&w, nullptr}};
      width += lora_width(product);
    });
    most = std::max(most, width);
  }
  return static_cast<size_t>(most);
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, const DecoderWeights& weights,
                     const Compute& compute, const KvCache& cache, int32_t batch_tokens)
    : batch(batch_tokens) {
  const auto floats = [&](int32_t width) {
    return AlignedArray<float>(static_cast<size_t>(batch) * static_cast<size_t>(width));
  };
  const int32_t planes = planes_of(config.activations);  // of what products write
  x = floats(config.width);
  norm = floats(config.width);
  out = floats(planes * config.width);
  q = floats(planes * config.q_width());
  k = floats(planes * config.kv_width());
  v = floats(planes * config.kv_width());
  q_gate = floats(config.gated_attention ? planes * 2 * config.q_width() : 0);
  attention = floats(config.q_width());
  gate = floats(planes * config.ffn);
  up = floats(planes * config.ffn);
  const auto ropes = static_cast<int32_t>(config.ropes.size());
  cos = floats(ropes * config.most_rope_dims() / 2);
  sin = floats(ropes * config.most_rope_dims() / 2);
  input = floats(config.input_norms ? widest_input(config) : 0);
  attention_memory =
      AttentionMemory(config, cache.layout(), batch, cache.capacity(), compute.threads);
  delta_net = DeltaNetMemory(config, batch);
  experts = ExpertMemory(config, batch);
  trits = AlignedArray<int8_t>(static_cast<size_t>(config.width));
  logits = AlignedArray<float>(static_cast<size_t>(kLogitsBatch * planes) *
                               static_cast<size_t>(config.vocab));
  head = HeadWorkspace(weights.head, compute.threads, config.activations);
  quantized = QuantizedRows(batch, widest_input(config), config.activations);
  scratch = ThreadScratch(compute.threads, scratch_bytes(*compute.kernels, config, weights, batch),
                          lora_floats(weights) * static_cast<size_t>(batch));
  scratch.factors = FactorMemory(config.factors, config.activations);
}

size_t Workspace::bytes(const ModelConfig& config, const DecoderWeights& weights,
                        const Compute& compute, const KvLayout& kv, int32_t batch,
                        int32_t context) {
  const int32_t widest = widest_input(config);
  const int64_t planes = planes_of(config.activations);
  const int64_t written = int64_t{config.width} +
                          (config.gated_attention ? 3 : 1) * int64_t{config.q_width()} +
                          2 * config.kv_width() + 2 * int64_t{config.ffn};
  const int64_t per_token = 2 * int64_t{config.width} + config.q_width() +
                            static_cast<int64_t>(config.ropes.size()) * config.most_rope_dims() +
                            (config.input_norms ? widest : 0) + planes * written;
  const int64_t floats = batch * per_token + planes * kLogitsBatch * int64_t{config.vocab};
  return static_cast<size_t>(floats) * sizeof(float) + static_cast<size_t>(config.width) +
         AttentionMemory::bytes(config, kv, batch, context, compute.threads) +
         DeltaNetMemory::bytes(config, batch) + ExpertMemory::bytes(config, batch) +
         HeadWorkspace::bytes(weights.head, compute.threads, config.activations) +
         QuantizedRows::bytes(batch, widest, config.activations) +
         ThreadScratch::bytes(compute.threads,
                              scratch_bytes(*compute.kernels, config, weights, batch),
                              lora_floats(weights) * static_cast<size_t>(batch)) +
         FactorMemory::bytes(config.factors, config.activations);
}

bool decoder_forward(const ModelConfig& config, const DecoderWeights& weights,
                     const Compute& compute, KvCache& cache, Workspace& ws,
                     std::span<const int32_t> tokens, int32_t first_position,
                     FunctionRef<bool()> keep_going) {
  const auto count = static_cast<int32_t>(tokens.size());
  TERN_CHECK(count >= 1 && count <= ws.batch, "a forward pass takes 1 to batch tokens");
  TERN_CHECK(first_position >= 0 && first_position + count <= cache.capacity(),
             "no room in the KV cache");
  RecurrentState& recurrent = cache.recurrent();
  TERN_CHECK(!recurrent.exists() || recurrent.position() == first_position,
             "a recurrent state goes on where it stands");
  if (compute.profile != nullptr) {
    compute.profile->start();
  }
  recurrent.begin();
  Compute in_use = compute;
  if (compute.tuner != nullptr) {
    in_use.threads = std::min(compute.threads, compute.tuner->begin_pass());
  }
  const Pass pass{config, in_use, cache, ws, count, first_position};
  bool finished = true;
  parallel_region(in_use.threads, [&] {
    for (int32_t t = 0; t < count; ++t) {
      weights.embedding.row(*compute.kernels, tokens[static_cast<size_t>(t)],
                            row(ws.x, t, config.width), ws.trits.data());
      rotate_back(weights.embedding_rotation, row(ws.x, t, config.width), config.width);
      if (config.embedding_scale != 1.0F) {
        std::transform(row(ws.x, t, config.width), row(ws.x, t + 1, config.width),
                       row(ws.x, t, config.width),
                       [&](float value) { return value * config.embedding_scale; });
      }
    }
    compute_angles(pass);
    finished = run_layers(pass, weights.layers, in_use, keep_going);
  });
  if (finished) {
    recurrent.commit(first_position + count);
  }
  compute.lap(PassPart::kRest);
  return finished;
}

std::span<const float> decoder_states(const ModelConfig& config, const DecoderWeights& weights,
                                      const Compute& compute, Workspace& ws, int32_t first,
                                      int32_t count) {
  TERN_CHECK(count >= 1 && first >= 0 && first + count <= ws.batch,
             "states are asked for tokens of the last pass");
  for (int32_t i = 0; i < count; ++i) {
    normalize(config, *compute.kernels, row(ws.x, first + i, config.width), weights.output_norm,
              row(ws.norm, i, config.width));
  }
  return ws.norm.span().first(static_cast<size_t>(count) * static_cast<size_t>(config.width));
}

std::span<const float> decoder_logits(const ModelConfig& config, const DecoderWeights& weights,
                                      const Compute& compute, Workspace& ws, int32_t first,
                                      int32_t count, const LogitsWanted& wanted) {
  TERN_CHECK(count <= kLogitsBatch, "logits are asked for a few tokens of the last pass");
  if (compute.profile != nullptr) {
    compute.profile->start();
  }
  const std::span<const float> states = decoder_states(config, weights, compute, ws, first, count);
  for (int32_t i = 0; i < count; ++i) {
    rotate(weights.head.rotation, row(ws.norm, i, config.width), config.width,
           reinterpret_cast<float*>(ws.scratch.of(0)));
  }
  compute.lap(PassPart::kRest);
  ws.head.multiply(compute, weights.head, states.data(), count, wanted, ws.scratch,
                   ws.logits.data());
  compute.lap(PassPart::kHead);
  return ws.logits.span().first(static_cast<size_t>(count) * static_cast<size_t>(config.vocab));
}

}  // namespace tern
