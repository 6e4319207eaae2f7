#include "engine/run/delta_net.h"

#include <algorithm>
#include <cmath>

#include "engine/base/parallel.h"

namespace tern {
namespace {

// Of the lengths that queries and keys are divided by; transformers has it as a constant.
constexpr float kLengthEps = 1e-6F;

float sigmoid(float x) {
  return 1.0F / (1.0F + std::exp(-x));
}

// log(1 + e^x), which is x to the last bit of a float where e^x is large.
float softplus(float x) {
  return x > 20.0F ? x : std::log1p(std::exp(x));
}

// x to length `length`.
void normalise(float* x, int32_t n, float length) {
  float sum = 0;
  for (int32_t i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  const float scale = length / std::sqrt(sum + kLengthEps);
  for (int32_t i = 0; i < n; ++i) {
    x[i] *= scale;
  }
}

// M = decay M, then M += k (x) beta (v - M^T k); out = M^T q. M: n x n, its rows those of k and q.
void delta_rule(float* __restrict matrix, int32_t n, const float* __restrict q,
                const float* __restrict k, const float* __restrict v, float decay, float beta,
                float* __restrict out) {
  float change[DeltaNet::kLargestState] = {};
  for (int32_t i = 0; i < n; ++i) {
    const float* row = matrix + static_cast<ptrdiff_t>(i) * n;
    for (int32_t j = 0; j < n; ++j) {
      change[j] += row[j] * k[i];
    }
  }
  for (int32_t j = 0; j < n; ++j) {
    change[j] = beta * (v[j] - decay * change[j]);
    out[j] = 0;
  }
  for (int32_t i = 0; i < n; ++i) {
    float* row = matrix + static_cast<ptrdiff_t>(i) * n;
    for (int32_t j = 0; j < n; ++j) {
      row[j] = decay * row[j] + k[i] * change[j];
      out[j] += row[j] * q[i];
    }
  }
}

// One layer's pass. Its work comes in heads: threads share no channel.
class Pass {
 public:
  Pass(const ModelConfig& config, const KernelTable& kernels, const DeltaNetWeights& weights,
       DeltaNetMemory& memory, RecurrentState& state, int32_t slot, int32_t tokens)
      : delta_(config.delta_net),
        kernels_(kernels),
        weights_(weights),
        memory_(memory),
        before_(state.before(slot)),
        after_(state.after(slot)),
        eps_(config.norm_eps),
        tokens_(tokens) {}

  // Head `head` of the queries, keys and values: a weighted sum of the last inputs, and SiLU; queries and keys to length 1, and
  // queries divided by the root of their size.
  void convolve(int64_t head) {
    const int64_t begin = head * delta_.state;
    const int32_t earlier = delta_.conv - 1;
    for (int32_t j = 0; j < earlier; ++j) {
      std::copy_n(input(tokens_ - earlier + j) + begin, delta_.state,
                  after_ + rows_at() + j * channels() + begin);
    }
    // From the last token on, so that each finds the inputs before it where they were.
    for (int32_t t = tokens_ - 1; t >= 0; --t) {
      float* x = memory_.qkv.data() + t * channels() + begin;
      for (int32_t c = 0; c < delta_.state; ++c) {
        const float* weight = weights_.conv.data() + (begin + c) * delta_.conv;
        float sum = weight[earlier] * x[c];
        for (int32_t j = 0; j < earlier; ++j) {
          sum += weight[j] * input(t - earlier + j)[begin + c];
        }
        x[c] = sum;
      }
      kernels_.silu_mul(x, memory_.ones.data(), delta_.state);
      if (head < delta_.key_heads) {
        normalise(x, delta_.state, 1.0F / std::sqrt(static_cast<float>(delta_.state)));
      } else if (head < 2 * int64_t{delta_.key_heads}) {
        normalise(x, delta_.state, 1.0F);
      }
    }
  }

  // All tokens through the matrix of value head `head`; their outputs normed, gated, and put where weights.out expects them.
  void recur(int64_t head) {
    const int64_t size = delta_.state;
    float* matrix = after_ + head * size * size;
    std::copy_n(before_ + head * size * size, size * size, matrix);
    const int64_t key = (delta_.grouped ? head / per_key() : head % delta_.key_heads) * size;
    float out[DeltaNet::kLargestState];
    for (int32_t t = 0; t < tokens_; ++t) {
      const float* x = memory_.qkv.data() + t * channels();
      const int64_t at = int64_t{t} * delta_.value_heads + head;
      const auto h = static_cast<size_t>(head);
      const float decay =
          std::exp(weights_.decay[h] * softplus(memory_.alpha.data()[at] + weights_.time_bias[h]));
      delta_rule(matrix, delta_.state, x + key, x + delta_.keys() + key,
                 x + 2 * int64_t{delta_.keys()} + head * size, decay,
                 sigmoid(memory_.beta.data()[at]), out);
      kernels_.rms_norm(out, weights_.norm.data(), delta_.state, eps_, out);
      float* gate = memory_.gate.data() + at * size;
      kernels_.silu_mul(gate, out, delta_.state);
      std::copy_n(gate, size,
                  memory_.out.data() + int64_t{t} * delta_.values() + output_head(head) * size);
    }
  }

 private:
  int64_t channels() const { return delta_.channels(); }
  int64_t per_key() const { return delta_.value_heads / delta_.key_heads; }
  // Where a layer's part of the state has the rows of the convolution.
  int64_t rows_at() const { return int64_t{delta_.value_heads} * delta_.state * delta_.state; }
  // What went into the convolution at `token` of this pass, or (negative) of those before it.
  const float* input(int32_t token) const {
    return token >= 0 ? memory_.qkv.data() + token * channels()
                      : before_ + rows_at() + (delta_.conv - 1 + token) * channels();
  }
  int64_t output_head(int64_t head) const {
    return delta_.grouped_output && !delta_.grouped
               ? head % delta_.key_heads * per_key() + head / delta_.key_heads
               : head;
  }

  const DeltaNet& delta_;
  const KernelTable& kernels_;
  const DeltaNetWeights& weights_;
  DeltaNetMemory& memory_;
  const float* before_;
  float* after_;
  float eps_;
  int32_t tokens_;
};

}  // namespace

DeltaNetMemory::DeltaNetMemory(const ModelConfig& config, int32_t batch) {
  const DeltaNet& delta = config.delta_net;
  if (delta.layers == 0) {
    return;
  }
  const auto floats = [&](int32_t width) {
    return AlignedArray<float>(static_cast<size_t>(batch) * static_cast<size_t>(width));
  };
  const int32_t planes = planes_of(config.activations);  // of what products write
  qkv = floats(planes * delta.channels());
  gate = floats(planes * delta.values());
  out = floats(delta.values());
  alpha = floats(planes * delta.value_heads);
  beta = floats(planes * delta.value_heads);
  ones = AlignedArray<float>(static_cast<size_t>(delta.state));
  std::ranges::fill(ones.span(), 1.0F);
}

size_t DeltaNetMemory::bytes(const ModelConfig& config, int64_t batch) {
  const DeltaNet& delta = config.delta_net;
  return delta.layers == 0 ? 0
                           : static_cast<size_t>(batch) * sizeof(float) *
                                     static_cast<size_t>(planes_of(config.activations) *
                                                             (delta.channels() + delta.values() +
                                                              2 * delta.value_heads) +
                                                         delta.values()) +
                                 static_cast<size_t>(delta.state) * sizeof(float);
}

void delta_net(const ModelConfig& config, const Compute& compute, const DeltaNetWeights& weights,
               DeltaNetMemory& memory, RecurrentState& state, int32_t slot, int32_t tokens) {
  Pass pass(config, *compute.kernels, weights, memory, state, slot, tokens);
  const DeltaNet& delta = config.delta_net;
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  parallel_for(compute.threads_for(kFloat * delta.channels() * delta.conv * tokens),
               2 * int64_t{delta.key_heads} + delta.value_heads, 1,
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t head = begin; head < end; ++head) {
                   pass.convolve(head);
                 }
               });
  parallel_for(compute.threads_for(kFloat * delta.values() * delta.state * tokens),
               delta.value_heads, 1, [&](int64_t begin, int64_t end, int) {
                 for (int64_t head = begin; head < end; ++head) {
                   pass.recur(head);
                 }
               });
}

}  // namespace tern
