#include "engine/arch/arch.h"

#include <algorithm>

#include "engine/arch/families.h"
#include "engine/io/file_type.h"
#include "engine/io/hugging_face.h"
#include "engine/io/other_parts.h"

namespace tern {
namespace {

constexpr ArchSpec kArchitectures[] = {
    {"bitnet", configure_bitnet},
    {"bitnet-25", configure_bitnet_2b},
    {"bitnet-b1.58", configure_bitnet_2b},
    {"cohere2", configure_cohere2},
    {"gemma3", configure_gemma3},
    {"hunyuan-dense", configure_hunyuan},
    {"llama", configure_llama},
    {"minicpm", configure_minicpm},
    {"qwen3", configure_qwen3},
    {"qwen35", configure_qwen35},
    {"qwen3moe", configure_qwen3moe},
    {"maple", configure_maple},
};

// Norms that an architecture does not have stay empty.
Result<std::span<const float>> norm_if(bool present, Weights& weights, const std::string& name,
                                       int64_t size) {
  if (!present) {
    return std::span<const float>();
  }
  return weights.vector(name, size);
}

// 8 bits for models that were trained so, which their architecture, the format of their weights or their name tells: Falcon3 and
// Falcon-E are of the architecture llama, and their names end in "1.58bit".
Activations suited_activations(const TensorFile& file, const ModelConfig& config) {
  const auto any = [&](bool WeightFormat::*property) {
    return std::ranges::any_of(file.tensors(),
                               [&](const Tensor& tensor) { return tensor.format->*property; });
  };
  const bool trained_so = config.architecture.starts_with("bitnet") || any(&WeightFormat::bitnet) ||
                          config.name.find("1.58") != std::string::npos;
  return trained_so || !any(&WeightFormat::ternary) ? Activations::kInt8 : Activations::kInt16;
}

Result<Linear> bind_linear(const ModelConfig& config, Weights& weights, const std::string& stem,
                           int32_t rows, int32_t cols) {
  ASSIGN_OR_RETURN(Linear out, weights.linear(stem + ".weight", rows, cols));
  ASSIGN_OR_RETURN(out.input_norm,
                   norm_if(config.input_norms, weights, stem + "_norm_in.weight", cols));
  return out;
}

Result<DeltaNetWeights> bind_delta_net(const ModelConfig& config, Weights& weights,
                                       const std::string& blk) {
  const DeltaNet& delta = config.delta_net;
  const int32_t heads = delta.value_heads;
  DeltaNetWeights out;
  ASSIGN_OR_RETURN(out.qkv,
                   weights.linear(blk + "attn_qkv.weight", delta.channels(), config.width));
  ASSIGN_OR_RETURN(out.gate,
                   weights.linear(blk + "attn_gate.weight", delta.values(), config.width));
  ASSIGN_OR_RETURN(out.alpha, weights.linear(blk + "ssm_alpha.weight", heads, config.width));
  ASSIGN_OR_RETURN(out.beta, weights.linear(blk + "ssm_beta.weight", heads, config.width));
  ASSIGN_OR_RETURN(out.out, weights.linear(blk + "ssm_out.weight", config.width, delta.values()));
  ASSIGN_OR_RETURN(
      out.conv, weights.floats(blk + "ssm_conv1d.weight", {delta.conv, int64_t{delta.channels()}}));
  ASSIGN_OR_RETURN(out.decay, weights.vector(blk + "ssm_a", heads));
  ASSIGN_OR_RETURN(out.time_bias, weights.vector(blk + "ssm_dt.bias", heads));
  ASSIGN_OR_RETURN(out.norm, weights.vector(blk + "ssm_norm.weight", delta.state));
  return out;
}

// What only attention layers have.
Result<void> bind_attention(const ModelConfig& config, Weights& weights, const std::string& blk,
                            LayerWeights& layer) {
  const int32_t width = config.width;
  const bool qk_norms = config.qk_norms != QkNorms::kNone;
  ASSIGN_OR_RETURN(layer.q_norm,
                   norm_if(qk_norms, weights, blk + "attn_q_norm.weight", config.head_dim));
  ASSIGN_OR_RETURN(layer.k_norm,
                   norm_if(qk_norms, weights, blk + "attn_k_norm.weight", config.head_dim));
  ASSIGN_OR_RETURN(layer.attn_sub_norm, norm_if(config.sub_norms, weights,
                                                blk + "attn_sub_norm.weight", config.q_width()));
  const int32_t q_rows = config.gated_attention ? 2 * config.q_width() : config.q_width();
  ASSIGN_OR_RETURN(layer.q, bind_linear(config, weights, blk + "attn_q", q_rows, width));
  ASSIGN_OR_RETURN(layer.k, bind_linear(config, weights, blk + "attn_k", config.kv_width(), width));
  ASSIGN_OR_RETURN(layer.v, bind_linear(config, weights, blk + "attn_v", config.kv_width(), width));
  ASSIGN_OR_RETURN(layer.o,
                   bind_linear(config, weights, blk + "attn_output", width, config.q_width()));
  // What the block adds is scaled with the product that makes it.
  layer.o.scale *= config.residual_scale;
  layer.o.lora_scale = config.residual_scale;
  return {};
}

Result<ExpertWeights> bind_experts(const ModelConfig& config, Weights& weights,
                                   const std::string& blk) {
  const Experts& experts = config.experts;
  const int32_t width = config.width;
  ExpertWeights out;
  ASSIGN_OR_RETURN(out.router, weights.linear(blk + "ffn_gate_inp.weight", experts.count, width));
  ASSIGN_OR_RETURN(
      out.gate, weights.experts(blk + "ffn_gate_exps.weight", experts.ffn, width, experts.count));
  ASSIGN_OR_RETURN(out.up,
                   weights.experts(blk + "ffn_up_exps.weight", experts.ffn, width, experts.count));
  ASSIGN_OR_RETURN(
      out.down, weights.experts(blk + "ffn_down_exps.weight", width, experts.ffn, experts.count));
  return out;
}

Result<LayerWeights> bind_layer(const ModelConfig& config, Weights& weights, int32_t index) {
  const std::string blk = "blk." + std::to_string(index) + ".";
  const auto name = [&](const char* part) { return blk + part + ".weight"; };
  LayerWeights layer;
  ASSIGN_OR_RETURN(layer.attn_norm, weights.vector(name("attn_norm"), config.width));
  if (config.recurrent(index)) {
    ASSIGN_OR_RETURN(layer.delta_net, bind_delta_net(config, weights, blk));
  } else {
    RETURN_IF_ERROR(bind_attention(config, weights, blk, layer));
  }
  ASSIGN_OR_RETURN(layer.attn_post_norm,
                   norm_if(config.post_norms, weights, name("post_attention_norm"), config.width));
  // llama.cpp's name for the norm before the feed-forward part of Qwen3.5.
  const bool other_name = config.gated_attention && !weights.has(name("ffn_norm"));
  ASSIGN_OR_RETURN(layer.ffn_norm,
                   norm_if(!config.parallel, weights,
                           name(other_name ? "post_attention_norm" : "ffn_norm"), config.width));
  ASSIGN_OR_RETURN(layer.ffn_sub_norm,
                   norm_if(config.sub_norms, weights, name("ffn_sub_norm"), config.ffn));
  ASSIGN_OR_RETURN(layer.ffn_post_norm,
                   norm_if(config.post_norms, weights, name("post_ffw_norm"), config.width));
  if (config.experts.count > 0) {
    ASSIGN_OR_RETURN(layer.experts, bind_experts(config, weights, blk));
    return layer;
  }
  ASSIGN_OR_RETURN(layer.gate,
                   bind_linear(config, weights, blk + "ffn_gate", config.ffn, config.width));
  ASSIGN_OR_RETURN(layer.up,
                   bind_linear(config, weights, blk + "ffn_up", config.ffn, config.width));
  ASSIGN_OR_RETURN(layer.down,
                   bind_linear(config, weights, blk + "ffn_down", config.width, config.ffn));
  layer.down.scale *= config.residual_scale;
  layer.down.lora_scale = config.residual_scale;
  return layer;
}

// Whether rotated inputs meet what the architecture does with them.
Result<void> check_rotations(ModelConfig& config) {
  const Rotations& rotations = config.rotations;
  if (rotations.block > 0 && config.input_norms) {
    return Error{
        "key prism.hadamard.weight_names: expected weights without norms of their own, found " +
        config.architecture + "; Tern does not rotate such inputs."};
  }
  for (int32_t i = 0; rotations.grouped_values && i < config.layers; ++i) {
    const std::string name = "blk." + std::to_string(i) + ".ssm_out.weight";
    if (config.recurrent(i) && !rotations.weights.contains(name)) {
      return Error{"key prism.hadamard.gdn_v_grouped: expected every ssm_out among weight_names, " +
                   std::string("found none of ") + name + "."};
    }
  }
  config.delta_net.grouped_output = rotations.grouped_values;
  return {};
}

}  // namespace

std::span<const ArchSpec> all_architectures() {
  return kArchitectures;
}

const ArchSpec* find_architecture(std::string_view name) {
  for (const ArchSpec& spec : kArchitectures) {
    if (spec.name == name) {
      return &spec;
    }
  }
  return nullptr;
}

Result<ModelConfig> read_config(const TensorFile& file, std::vector<std::string>& notices) {
  RETURN_IF_ERROR(refuse_other_kinds(file));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> name,
                   file.get_string("general.architecture"));
  const ArchSpec* spec = find_architecture(name.value_or(""));
  if (spec == nullptr) {
    std::string known;
    for (const ArchSpec& each : kArchitectures) {
      known += (known.empty() ? "" : ", ") + std::string(each.name);
    }
    return Error{"key general.architecture: expected one that Tern runs (" + known + "), found " +
                 (name ? std::string(*name) : "no such key") + "."};
  }
  ASSIGN_OR_RETURN(ModelConfig config, read_model_config(file));
  config.activations = suited_activations(file, config);
  RETURN_IF_ERROR(spec->configure(file, config, notices));
  // The BitNet embedding models keep the architecture of the model that they were made from, with a norm before every projection.
  config.input_norms = file.find("blk.0.attn_q_norm_in.weight") != nullptr;
  ASSIGN_OR_RETURN(const std::optional<int64_t> pooling,
                   file.get_int(config.architecture + ".pooling_type"));
  config.embeds = config.input_norms || pooling.value_or(0) > 0;
  // Containers may order the rows of queries and keys in another way than GGUF files of the architecture do.
  ASSIGN_OR_RETURN(const std::optional<bool> rotate_half, file.get_bool("tern.rope.rotate_half"));
  for (Rope& rope : config.ropes) {
    rope.gguf_rotate_half = rope.rotate_half;
    rope.rotate_half = rotate_half.value_or(rope.rotate_half);
  }
  ASSIGN_OR_RETURN(config.rotations, read_rotations(file));
  config.factors = factor_shape(file);
  RETURN_IF_ERROR(check_rotations(config));
  if (!is_hugging_face_model(file.path())) {  // a folder's floats become ternary where they are
    std::ranges::move(notices_of_types(file), std::back_inserter(notices));
  }
  std::ranges::move(notices_of(other_parts_of(file.tensors())), std::back_inserter(notices));
  return config;
}

Result<DecoderWeights> bind_decoder(const ModelConfig& config, Weights& weights,
                                    HeadType head_type) {
  DecoderWeights decoder;
  weights.rotate(config.rotations);
  decoder.embedding_rotation = config.rotations.of_embedding(config.width);
  ASSIGN_OR_RETURN(decoder.embedding,
                   weights.embedding("token_embd.weight", config.vocab, config.width));
  for (int32_t index = 0; index < config.layers; ++index) {
    ASSIGN_OR_RETURN(LayerWeights layer, bind_layer(config, weights, index));
    decoder.layers.push_back(layer);
  }
  ASSIGN_OR_RETURN(decoder.output_norm, weights.vector("output_norm.weight", config.width));
  // Without a head of its own the model uses its token embedding.
  const char* head = weights.has("output.weight") ? "output.weight" : "token_embd.weight";
  ASSIGN_OR_RETURN(decoder.head, weights.head(head, config.vocab, config.width, head_type));
  decoder.head.scale *= config.logit_scale;
  // Read with the configuration.
  for (const char* factors :
       {"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"}) {
    weights.ignore(factors);
  }
  for (int32_t index = 0; index < config.unused_layers; ++index) {
    weights.ignore_all("blk." + std::to_string(config.layers + index) + ".");
  }
  RETURN_IF_ERROR(weights.require_all_taken());
  return decoder;
}

}  // namespace tern
