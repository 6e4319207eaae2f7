#include "tools/synth_tensors.h"

#include <cmath>
#include <set>

namespace tern::cli {
namespace {

void add_keys(GgufHead& head, const SynthShape& shape) {
  const auto key = [&](const char* name) { return shape.architecture + "." + name; };
  const auto set_count = [&](const char* name, int32_t value) {
    head.set(key(name), static_cast<uint32_t>(value));
  };
  head.set("general.architecture", shape.architecture);
  head.set("general.name", "random " + shape.name);
  set_count("vocab_size", shape.vocab);
  set_count("context_length", shape.context);
  set_count("embedding_length", shape.width);
  set_count("block_count", shape.layers);
  set_count("feed_forward_length", shape.ffn);
  set_count("attention.head_count", shape.heads);
  set_count("attention.head_count_kv", shape.kv_heads);
  set_count("attention.key_length", shape.head_dim);
  set_count("attention.value_length", shape.head_dim);
  set_count("rope.dimension_count", shape.rope_dims > 0 ? shape.rope_dims : shape.head_dim);
  head.set(key("attention.layer_norm_rms_epsilon"), shape.norm_eps);
  head.set(key("rope.freq_base"), shape.rope_base);
  if (shape.window > 0) {
    set_count("attention.sliding_window", shape.window);
  }
  if (const SynthMixture& mixture = shape.mixture; mixture.experts > 0) {
    set_count("expert_count", mixture.experts);
    set_count("expert_used_count", mixture.used);
    set_count("expert_feed_forward_length", shape.ffn);
  }
  if (const SynthHybrid& hybrid = shape.hybrid; hybrid.key_heads > 0) {
    set_count("full_attention_interval", hybrid.interval);
    set_count("ssm.group_count", hybrid.key_heads);
    set_count("ssm.time_step_rank", hybrid.value_heads);
    set_count("ssm.state_size", hybrid.state);
    set_count("ssm.conv_kernel", hybrid.conv);
    set_count("ssm.inner_size", hybrid.values());
  }
}

float keep_size(int64_t cols) {
  return 1 / std::sqrt(static_cast<float>(cols));
}

class Decoder {
 public:
  Decoder(GgufHead& head, const SynthOptions& options)
      : head_(head), options_(options), s_(options.shape) {}

  Result<std::vector<SynthFill>> add() {
    // The last norm makes activations of size 1, so logits have this many times that.
    const float deviation = 0.25F * keep_size(s_.width);
    RETURN_IF_ERROR(matrix("token_embd", {s_.width, s_.vocab}, *options_.embedding, deviation));
    RETURN_IF_ERROR(vector("output_norm.weight", s_.width));
    if (!s_.tied) {
      RETURN_IF_ERROR(matrix("output", {s_.width, s_.vocab}, *options_.head, deviation));
      rotated_.emplace_back("output.weight");
    }
    for (int32_t i = 0; i < s_.layers; ++i) {
      RETURN_IF_ERROR(add_layer(i));
    }
    if (s_.rotation > 0) {
      add_rotation();
    }
    return std::move(fills_);
  }

 private:
  Result<void> matrix(const std::string& name, std::vector<int64_t> shape,
                      const WeightFormat& format, float deviation) {
    fills_.push_back({.deviation = deviation});
    return head_.add_tensor(name + ".weight", format, std::move(shape));
  }
  Result<void> vector(const std::string& name, int64_t size, float value = 1) {
    fills_.push_back({.constant = value});
    return head_.add_tensor(name, *find_weight_format("F32"), {size});
  }
  Result<void> norm(const std::string& name, int64_t size) {
    return vector(blk_ + name + ".weight", size);
  }
  // A matrix of the layer, with a norm of its input where the architecture has them. `rotated`: in models that rotate inputs.
  Result<void> linear(const std::string& name, int64_t rows, int64_t cols, bool rotated = true) {
    if (rotated) {
      rotated_.push_back(blk_ + name + ".weight");
    }
    RETURN_IF_ERROR(matrix(blk_ + name, {cols, rows}, *options_.linear, keep_size(cols)));
    return s_.input_norms ? norm(name + "_norm_in", cols) : Result<void>();
  }

  Result<void> add_layer(int32_t index) {
    blk_ = "blk." + std::to_string(index) + ".";
    const bool recurrent = s_.hybrid.recurrent(index);
    RETURN_IF_ERROR(norm("attn_norm", s_.width));
    RETURN_IF_ERROR(recurrent ? add_recurrent() : add_attention());
    if (s_.architecture == "gemma3") {
      RETURN_IF_ERROR(norm("post_attention_norm", s_.width));
      RETURN_IF_ERROR(norm("post_ffw_norm", s_.width));
    }
    RETURN_IF_ERROR(norm(s_.hybrid.key_heads > 0 ? "post_attention_norm" : "ffn_norm", s_.width));
    if (s_.mixture.experts > 0) {
      return add_experts();
    }
    RETURN_IF_ERROR(linear("ffn_gate", s_.ffn, s_.width));
    RETURN_IF_ERROR(linear("ffn_up", s_.ffn, s_.width));
    return linear("ffn_down", s_.width, s_.ffn);
  }

  Result<void> add_attention() {
    const int64_t q = int64_t{s_.heads} * s_.head_dim;
    const int64_t kv = int64_t{s_.kv_heads} * s_.head_dim;
    const bool gated = s_.hybrid.key_heads > 0;
    RETURN_IF_ERROR(linear("attn_q", gated ? 2 * q : q, s_.width));
    RETURN_IF_ERROR(linear("attn_k", kv, s_.width));
    RETURN_IF_ERROR(linear("attn_v", kv, s_.width));
    RETURN_IF_ERROR(linear("attn_output", s_.width, q));
    if (s_.architecture.starts_with("bitnet")) {
      RETURN_IF_ERROR(norm("attn_sub_norm", q));
      return norm("ffn_sub_norm", s_.ffn);
    }
    if (s_.architecture == "llama" || s_.architecture == "minicpm") {
      return {};
    }
    RETURN_IF_ERROR(norm("attn_q_norm", s_.head_dim));
    return norm("attn_k_norm", s_.head_dim);
  }

  Result<void> add_recurrent() {
    const SynthHybrid& hybrid = s_.hybrid;
    RETURN_IF_ERROR(linear("attn_qkv", hybrid.channels(), s_.width));
    RETURN_IF_ERROR(linear("attn_gate", hybrid.values(), s_.width));
    RETURN_IF_ERROR(linear("ssm_alpha", hybrid.value_heads, s_.width, false));
    RETURN_IF_ERROR(linear("ssm_beta", hybrid.value_heads, s_.width, false));
    RETURN_IF_ERROR(linear("ssm_out", s_.width, hybrid.values()));
    RETURN_IF_ERROR(matrix(blk_ + "ssm_conv1d", {hybrid.conv, hybrid.channels()},
                           *find_weight_format("F32"), keep_size(hybrid.conv)));
    RETURN_IF_ERROR(vector(blk_ + "ssm_a", hybrid.value_heads, -1));  // states fade
    RETURN_IF_ERROR(vector(blk_ + "ssm_dt.bias", hybrid.value_heads, 0));
    return norm("ssm_norm", hybrid.state);
  }

  Result<void> add_experts() {
    const int64_t count = s_.mixture.experts;
    RETURN_IF_ERROR(matrix(blk_ + "ffn_gate_inp", {s_.width, count}, *find_weight_format("F32"),
                           keep_size(s_.width)));
    for (const char* name : {"ffn_gate_exps", "ffn_up_exps"}) {
      RETURN_IF_ERROR(
          matrix(blk_ + name, {s_.width, s_.ffn, count}, *options_.linear, keep_size(s_.width)));
    }
    return matrix(blk_ + "ffn_down_exps", {s_.ffn, s_.width, count}, *options_.linear,
                  keep_size(s_.ffn));
  }

  // The keys of Bonsai 2 (engine/model/rotation.h), every sign +1: those change no size.
  void add_rotation() {
    const std::string prefix = "prism.hadamard.";
    const std::set<int32_t> distinct = {s_.width, s_.hybrid.values(), s_.ffn};
    const std::vector<int32_t> widths(distinct.begin(), distinct.end());
    size_t values = 0;
    for (const int32_t width : widths) {
      values += static_cast<size_t>(width);
    }
    head_.set(prefix + "version", uint32_t{1});
    head_.set(prefix + "block_size", static_cast<uint32_t>(s_.rotation));
    head_.set(prefix + "transform", "normalized-sylvester-walsh-hadamard");
    head_.set(prefix + "axis", "input-last-dimension");
    head_.set(prefix + "sign_mode", "explicit");
    head_.set_array(prefix + "sign_widths", std::span(widths));
    head_.set_array(prefix + "sign_values",
                    std::span<const int32_t>(std::vector<int32_t>(values, 1)));
    head_.set_array(prefix + "weight_names", rotated_);
    head_.set_array(prefix + "inverse_weight_names", std::vector<std::string>{"token_embd.weight"});
    head_.set(prefix + "gdn_v_grouped", true);
  }

  GgufHead& head_;
  const SynthOptions& options_;
  const SynthShape& s_;
  std::string blk_;
  std::vector<SynthFill> fills_;
  std::vector<std::string> rotated_;
};

}  // namespace

Result<std::vector<SynthFill>> add_decoder(GgufHead& head, const SynthOptions& options) {
  add_keys(head, options.shape);
  return Decoder(head, options).add();
}

}  // namespace tern::cli
