#include "engine/arch/arch.h"

#include "engine/arch/families.h"

namespace tern {
namespace {

constexpr ArchSpec kArchitectures[] = {
    {"bitnet", configure_bitnet},
    {"bitnet-25", configure_bitnet_2b},
    {"bitnet-b1.58", configure_bitnet_2b},
    {"llama", configure_llama},
    {"qwen3", configure_qwen3},
};

// Norms that an architecture does not have stay empty.
Result<std::span<const float>> norm_if(bool present, Weights& weights, const std::string& name,
                                       int64_t size) {
  if (!present) {
    return std::span<const float>();
  }
  return weights.vector(name, size);
}

Result<LayerWeights> bind_layer(const ModelConfig& config, Weights& weights, int32_t index) {
  const auto name = [&](const char* part) {
    return "blk." + std::to_string(index) + "." + part + ".weight";
  };
  LayerWeights layer;
  ASSIGN_OR_RETURN(layer.attn_norm, weights.vector(name("attn_norm"), config.width));
  const bool qk_norms = config.qk_norms != QkNorms::kNone;
  ASSIGN_OR_RETURN(layer.q_norm, norm_if(qk_norms, weights, name("attn_q_norm"), config.head_dim));
  ASSIGN_OR_RETURN(layer.k_norm, norm_if(qk_norms, weights, name("attn_k_norm"), config.head_dim));
  ASSIGN_OR_RETURN(layer.attn_sub_norm,
                   norm_if(config.sub_norms, weights, name("attn_sub_norm"), config.q_width()));
  ASSIGN_OR_RETURN(layer.attn_post_norm,
                   norm_if(config.post_norms, weights, name("post_attention_norm"), config.width));
  ASSIGN_OR_RETURN(layer.ffn_norm,
                   norm_if(!config.parallel, weights, name("ffn_norm"), config.width));
  ASSIGN_OR_RETURN(layer.ffn_sub_norm,
                   norm_if(config.sub_norms, weights, name("ffn_sub_norm"), config.ffn));
  ASSIGN_OR_RETURN(layer.ffn_post_norm,
                   norm_if(config.post_norms, weights, name("post_ffw_norm"), config.width));
  const auto linear = [&](const char* part, int32_t rows, int32_t cols) -> Result<Linear> {
    ASSIGN_OR_RETURN(Linear out, weights.linear(name(part), rows, cols));
    const std::string norm = std::string(part) + "_norm_in";
    ASSIGN_OR_RETURN(out.input_norm,
                     norm_if(config.input_norms, weights, name(norm.c_str()), cols));
    return out;
  };
  ASSIGN_OR_RETURN(layer.q, linear("attn_q", config.q_width(), config.width));
  ASSIGN_OR_RETURN(layer.k, linear("attn_k", config.kv_width(), config.width));
  ASSIGN_OR_RETURN(layer.v, linear("attn_v", config.kv_width(), config.width));
  ASSIGN_OR_RETURN(layer.o, linear("attn_output", config.width, config.q_width()));
  ASSIGN_OR_RETURN(layer.gate, linear("ffn_gate", config.ffn, config.width));
  ASSIGN_OR_RETURN(layer.up, linear("ffn_up", config.ffn, config.width));
  ASSIGN_OR_RETURN(layer.down, linear("ffn_down", config.width, config.ffn));
  // What the block adds is scaled with the product that makes it.
  layer.o.scale *= config.residual_scale;
  layer.down.scale *= config.residual_scale;
  return layer;
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
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with("prism.hadamard.")) {
      return Error{
          "key " + key +
          ": the weights of this file are rotated, which this version of Tern cannot undo; " +
          "it would print nonsense. Use a file without prism.hadamard keys."};
    }
  }
  ASSIGN_OR_RETURN(ModelConfig config, read_model_config(file));
  RETURN_IF_ERROR(spec->configure(file, config, notices));
  // Containers may order the rows of queries and keys in another way than GGUF files of the architecture do.
  ASSIGN_OR_RETURN(const std::optional<bool> rotate_half, file.get_bool("tern.rope.rotate_half"));
  for (Rope& rope : config.ropes) {
    rope.rotate_half = rotate_half.value_or(rope.rotate_half);
  }
  return config;
}

Result<DecoderWeights> bind_decoder(const ModelConfig& config, Weights& weights,
                                    HeadType head_type) {
  DecoderWeights decoder;
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
  weights.ignore("rope_freqs.weight");  // read with the configuration
  RETURN_IF_ERROR(weights.require_all_taken());
  return decoder;
}

}  // namespace tern
