// config.json as the keys of a GGUF file.

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "engine/io/hf_rope.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

using Json = nlohmann::json;

struct Architecture {
  std::string_view theirs;  // "architectures" in config.json
  std::string_view ours;    // general.architecture
};
constexpr Architecture kArchitectures[] = {{"BitLlamaForCausalLMInf", "llama"},
                                           {"BitNetForCausalLM", "bitnet-b1.58"},
                                           {"BitnetForCausalLM", "bitnet"},
                                           {"Cohere2ForCausalLM", "cohere2"},
                                           {"Gemma3ForCausalLM", "gemma3"},
                                           {"Gemma3TextModel", "gemma3"},
                                           {"HunYuanDenseV1ForCausalLM", "hunyuan-dense"},
                                           {"LlamaForCausalLM", "llama"},
                                           {"MapleForCausalLM", "maple"},
                                           {"MiniCPMForCausalLM", "minicpm"},
                                           {"Qwen3_5ForCausalLM", "qwen35"},
                                           {"Qwen3_5ForConditionalGeneration", "qwen35"},
                                           {"Qwen3ForCausalLM", "qwen3"},
                                           {"Qwen3MoeForCausalLM", "qwen3moe"},
                                           {"Qwen3Model", "qwen3"}};

Error expected(const std::string& key, const std::string& what, const Json& found) {
  return Error{"config.json: key " + key + ": expected " + what + ", found " +
               printable(found.dump()) + "."};
}

// A key that may be absent or null.
const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string_view> architecture_of(const Json& config) {
  const Json* names = find(config, "architectures");
  std::string found = "no such key";
  if (names != nullptr && names->is_array() && !names->empty() && names->front().is_string()) {
    found = names->front().get<std::string>();
    for (const Architecture& architecture : kArchitectures) {
      if (architecture.theirs == found) {
        return architecture.ours;
      }
    }
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    known += (known.empty() ? "" : ", ") + std::string(architecture.theirs);
  }
  std::string more;
  for (const auto& [key, sense] :
       {std::pair("vision_config", "sees"), std::pair("audio_config", "hears")}) {
    if (find(config, key) != nullptr) {
      more += std::string(more.empty() ? " (a model that also " : " and ") + sense;
    }
  }
  return Error{"config.json: key architectures: expected one that Tern runs (" + known +
               "), found " + printable(found) + more + (more.empty() ? "." : ").")};
}

class Translator {
 public:
  Translator(const Json& config, std::string_view architecture, HuggingFaceReader& out)
      : config_(config), prefix_(std::string(architecture) + "."), out_(out) {}

  Result<void> integer(const char* from, const char* to) {
    if (const Json* value = find(config_, from)) {
      if (!value->is_number_integer()) {
        return expected(from, "a whole number", *value);
      }
      out_.set(prefix_ + to, value->get<int64_t>());
    }
    return {};
  }
  Result<void> real(const Json& object, const char* from, const char* to) {
    if (const Json* value = find(object, from)) {
      if (!value->is_number()) {
        return expected(from, "a number", *value);
      }
      out_.set(prefix_ + to, value->get<double>());
    }
    return {};
  }
  Result<void> real(const char* from, const char* to) { return real(config_, from, to); }
  // A number of config.json, or `fallback`.
  double number_or(const Json& object, const char* key, double fallback) const {
    const Json* value = find(object, key);
    return value != nullptr && value->is_number() ? value->get<double>() : fallback;
  }
  double number_or(const char* key, double fallback) const {
    return number_or(config_, key, fallback);
  }
  void set_real(const char* to, double value) { out_.set(prefix_ + to, value); }

  Result<void> rope();
  Result<void> activation();
  // Which layers have a window.
  Result<void> windows();
  // Qwen3.5's recurrent layers.
  Result<void> delta_net();
  // Shares of a head's pairs that positions in time, height and width rotate: equal in text, but other programs want the key.
  Result<void> sections();
  // Mixtures of experts.
  Result<void> experts();

 private:
  // Of a head's values some may not be rotated.
  Result<void> rotated_share();
  Result<void> scaling(const Json& rope);
  Result<void> yarn(const Json& rope);
  Result<void> llama3_factors(const Json& rope);
  Result<void> long_factors(const Json& rope);
  Result<void> dynamic_alpha(const Json& rope);
  Result<double> positive(const Json& rope, const char* key) const;
  Result<double> original_context(const Json& rope) const;
  // Values of a head; 0 if config.json does not say.
  int64_t head_dims() const;

  const Json& config_;
  std::string prefix_;
  HuggingFaceReader& out_;
  HfRope rope_;
};

Result<void> Translator::rope() {
  ASSIGN_OR_RETURN(rope_, read_hf_rope(config_, prefix_.substr(0, prefix_.size() - 1)));
  RETURN_IF_ERROR(rotated_share());
  RETURN_IF_ERROR(real(rope_.full, "rope_theta", "rope.freq_base"));
  if (const Json& windowed = rope_.windowed; !windowed.is_null()) {
    if (windowed["rope_type"] != "default") {
      return expected("rope_parameters.sliding_attention.rope_type",
                      "default (layers with a window turn without scaling)", windowed["rope_type"]);
    }
    RETURN_IF_ERROR(real(windowed, "rope_theta", "rope.freq_base_swa"));
  }
  return scaling(rope_.full);
}

Result<void> Translator::rotated_share() {
  const Json* share = find(rope_.full, "partial_rotary_factor");
  const Json all = share != nullptr ? *share : Json(1);
  if (const Json windowed =
          rope_.windowed.is_null() ? all : rope_.windowed.value("partial_rotary_factor", Json(1));
      windowed != all) {
    return expected("rope_parameters.sliding_attention.partial_rotary_factor",
                    all.dump() + ", as in the layers without a window", windowed);
  }
  if (share == nullptr) {
    if (prefix_ == "qwen35.") {
      out_.set(prefix_ + "rope.dimension_count", head_dims() / 4);  // its default
    }
    return {};
  }
  const double value = share->is_number() ? share->get<double>() : 0;
  const double dims = value * static_cast<double>(head_dims());
  if (!(value > 0 && value <= 1) || dims != std::floor(dims)) {
    return expected("partial_rotary_factor", "a share of a head's values", *share);
  }
  out_.set(prefix_ + "rope.dimension_count", static_cast<int64_t>(dims));
  return {};
}

Result<void> Translator::scaling(const Json& rope) {
  const Json& type = rope.at("rope_type");
  const std::string kind = type.is_string() ? type.get<std::string>() : type.dump();
  if (kind == "default") {
    return {};
  }
  if (kind == "llama3") {
    return llama3_factors(rope);
  }
  if (kind == "longrope") {
    return long_factors(rope);
  }
  if (kind == "dynamic" && prefix_ == "hunyuan-dense.") {
    return dynamic_alpha(rope);
  }
  if (kind == "linear") {
    ASSIGN_OR_RETURN(const double factor, positive(rope, "factor"));
    out_.set(prefix_ + "rope.scaling.type", out_.keep(kind));
    set_real("rope.scaling.factor", factor);
    return {};
  }
  if (kind == "yarn") {
    return yarn(rope);
  }
  return Error{
      "config.json: key rope_type: expected default, linear, llama3, longrope or yarn, found " +
      printable(kind) + "; the model would be run wrongly."};
}

Result<double> Translator::positive(const Json& rope, const char* key) const {
  const Json* value = find(rope, key);
  if (value == nullptr || !value->is_number() || !(value->get<double>() > 0)) {
    return expected(std::string("rope_parameters.") + key, "a number above 0",
                    value == nullptr ? Json() : *value);
  }
  return value->get<double>();
}

// The context that scaling starts from: the model's own, where the file does not say.
Result<double> Translator::original_context(const Json& rope) const {
  constexpr const char* kKey = "original_max_position_embeddings";
  return find(rope, kKey) != nullptr ? positive(rope, kKey)
                                     : positive(config_, "max_position_embeddings");
}

Result<void> Translator::yarn(const Json& rope) {
  ASSIGN_OR_RETURN(const double original, original_context(rope));
  double factor = 0;
  if (find(rope, "factor") != nullptr) {
    ASSIGN_OR_RETURN(factor, positive(rope, "factor"));
  } else {
    ASSIGN_OR_RETURN(const double context, positive(config_, "max_position_embeddings"));
    factor = context / original;
  }
  // Attention is sharpened by this where nothing else is said, and GGUF files have no key for more.
  const auto sharpened = [&](double scale) {
    return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
  };
  const double scale = number_or(rope, "mscale", 0);
  const double scale_all = number_or(rope, "mscale_all_dim", 0);
  const double usual =
      scale != 0 && scale_all != 0 ? sharpened(scale) / sharpened(scale_all) : sharpened(1);
  if (const double found = number_or(rope, "attention_factor", usual);
      std::fabs(found - sharpened(1)) > 1e-6) {
    return expected("rope_parameters.attention_factor (or mscale)",
                    "the usual one of YaRN, " + std::to_string(sharpened(1)), Json(found));
  }
  if (const Json* truncate = find(rope, "truncate"); truncate != nullptr && *truncate != true) {
    return expected("rope_parameters.truncate", "true", *truncate);
  }
  out_.set(prefix_ + "rope.scaling.type", out_.keep("yarn"));
  set_real("rope.scaling.factor", factor);
  out_.set(prefix_ + "rope.scaling.original_context_length", static_cast<int64_t>(original));
  RETURN_IF_ERROR(real(rope, "beta_fast", "rope.scaling.yarn_beta_fast"));
  return real(rope, "beta_slow", "rope.scaling.yarn_beta_slow");
}

// Llama 3.1's scaling: slow pairs turn `factor` times slower, fast ones as before, those between by a mixture; written as one
// divisor a pair, as GGUF files carry it. Source: the Llama 3.1 model card's code.
Result<void> Translator::llama3_factors(const Json& rope) {
  ASSIGN_OR_RETURN(const double factor, positive(rope, "factor"));
  ASSIGN_OR_RETURN(const double low, positive(rope, "low_freq_factor"));
  ASSIGN_OR_RETURN(const double high, positive(rope, "high_freq_factor"));
  ASSIGN_OR_RETURN(const double original, original_context(rope));
  ASSIGN_OR_RETURN(const double base, positive(rope, "rope_theta"));
  const int64_t dims = head_dims();
  if (dims < 2 || dims > 65536 || !(high > low)) {
    return expected("rope_scaling", "the properties of llama3 scaling", rope);
  }
  std::vector<float> divisors;
  for (int64_t i = 0; i < dims / 2; ++i) {
    const double frequency =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
    const double wavelength = 2 * std::numbers::pi / frequency;
    double share = (original / wavelength - low) / (high - low);  // 0: slow, 1: fast
    share = std::fmin(std::fmax(share, 0.0), 1.0);
    divisors.push_back(static_cast<float>(1 / ((1 - share) / factor + share)));
  }
  out_.add_floats("rope_freqs.weight", std::move(divisors));
  return {};
}

int64_t Translator::head_dims() const {
  if (const Json* head = find(config_, "head_dim"); head != nullptr && head->is_number_integer()) {
    return head->get<int64_t>();
  }
  const Json* width = find(config_, "hidden_size");
  const Json* heads = find(config_, "num_attention_heads");
  const bool known = width != nullptr && heads != nullptr && width->is_number_integer() &&
                     heads->is_number_integer() && heads->get<int64_t>() > 0;
  return known ? width->get<int64_t>() / heads->get<int64_t>() : 0;
}

// LongRoPE's two sets of divisors, as GGUF files carry them.
Result<void> Translator::long_factors(const Json& rope) {
  const Json* original = find(rope, "original_max_position_embeddings");
  if (original == nullptr || !original->is_number_integer()) {
    return expected("rope_scaling", "longrope with original_max_position_embeddings", rope);
  }
  out_.set(prefix_ + "rope.scaling.type", out_.keep("longrope"));
  out_.set(prefix_ + "rope.scaling.original_context_length", original->get<int64_t>());
  // Attention is sharpened as far as the context goes beyond the original one. transformers takes other words for that
  // (MiniCPM's own code does not).
  if (const bool own = prefix_ != "minicpm."; own && find(rope, "attention_factor") != nullptr) {
    ASSIGN_OR_RETURN(const double given, positive(rope, "attention_factor"));
    set_real("rope.scaling.attn_factor", given);
  } else if (own && find(rope, "factor") != nullptr) {
    ASSIGN_OR_RETURN(const double factor, positive(rope, "factor"));
    const double start = original->get<double>();
    set_real("rope.scaling.attn_factor",
             factor > 1 ? std::sqrt(1 + std::log(factor) / std::log(start)) : 1.0);
  }
  for (const char* which : {"short", "long"}) {
    const Json* list = find(rope, (std::string(which) + "_factor").c_str());
    std::vector<float> divisors;
    for (size_t i = 0; list != nullptr && list->is_array() && i < list->size(); ++i) {
      if (!(*list)[i].is_number()) {
        return expected("rope_scaling", "lists of numbers in longrope", rope);
      }
      divisors.push_back((*list)[i].get<float>());
    }
    if (divisors.empty()) {
      return expected("rope_scaling", "longrope with short_factor and long_factor", rope);
    }
    out_.add_floats("rope_factors_" + std::string(which) + ".weight", std::move(divisors));
  }
  return {};
}

// Hunyuan's "dynamic" scaling is none: a larger base for every length.
Result<void> Translator::dynamic_alpha(const Json& rope) {
  ASSIGN_OR_RETURN(const double base, positive(rope, "rope_theta"));
  const double alpha = number_or(rope, "alpha", 0);
  const auto dims = static_cast<double>(head_dims());
  if (!(alpha > 0 && dims > 2)) {
    return expected("rope_scaling", "dynamic scaling with alpha", rope);
  }
  set_real("rope.freq_base", base * std::pow(alpha, dims / (dims - 2)));
  return {};
}

Result<void> Translator::activation() {
  const Json* name = find(config_, "hidden_activation");
  name = name != nullptr ? name : find(config_, "hidden_act");
  if (name == nullptr || !name->is_string()) {
    return {};
  }
  const auto act = name->get<std::string>();
  if (prefix_ == "gemma3." ? act != "gelu_pytorch_tanh" : act != "silu" && act != "relu2") {
    return expected("hidden_act", "silu or relu2, gelu_pytorch_tanh for Gemma", *name);
  }
  out_.set(prefix_ + "hidden_activation", out_.keep(act));
  return {};
}

Result<void> Translator::windows() {
  if (const Json* use = find(config_, "use_sliding_window");
      use != nullptr && use->is_boolean() && use->get<bool>()) {
    return expected("use_sliding_window", "false (Tern computes full attention)", *use);
  }
  if (prefix_ != "gemma3." && prefix_ != "cohere2." && prefix_ != "maple.") {
    return {};  // a window that is not used
  }
  if (const Json* both = find(config_, "use_bidirectional_attention");
      both != nullptr && both->is_boolean()) {
    out_.set(prefix_ + "attention.causal", !both->get<bool>());
  }
  RETURN_IF_ERROR(integer("sliding_window", "attention.sliding_window"));
  for (const char* period : {"_sliding_window_pattern", "sliding_window_pattern"}) {
    RETURN_IF_ERROR(integer(period, "attention.sliding_window_pattern"));
  }
  if (const Json* types = find(config_, "layer_types"); types != nullptr && types->is_array()) {
    std::vector<bool> windowed;
    for (const Json& type : *types) {
      if (type != "sliding_attention" && type != "full_attention") {
        return expected("layer_types", "sliding_attention and full_attention", type);
      }
      windowed.push_back(type == "sliding_attention");
    }
    out_.set(prefix_ + "attention.sliding_window_pattern", MetaArray(std::move(windowed)));
  }
  return {};
}

Result<void> Translator::delta_net() {
  constexpr std::array<std::pair<const char*, const char*>, 5> kIntegers = {
      {{"linear_conv_kernel_dim", "ssm.conv_kernel"},
       {"linear_key_head_dim", "ssm.state_size"},
       {"linear_num_key_heads", "ssm.group_count"},
       {"linear_num_value_heads", "ssm.time_step_rank"},
       {"full_attention_interval", "full_attention_interval"}}};
  for (const auto& [from, key] : kIntegers) {
    RETURN_IF_ERROR(integer(from, key));
  }
  const auto whole = [&](const char* key) {
    const Json* value = find(config_, key);
    return value != nullptr && value->is_number_integer() ? value->get<int64_t>() : 0;
  };
  const int64_t dims = whole("linear_value_head_dim");
  const int64_t heads = whole("linear_num_value_heads");
  int64_t values = 0;
  if (dims != whole("linear_key_head_dim") || __builtin_mul_overflow(dims, heads, &values)) {
    return Error{"config.json: key linear_value_head_dim: expected linear_key_head_dim, found " +
                 std::to_string(dims) + "."};
  }
  out_.set(prefix_ + "ssm.inner_size", values);
  // Values are grouped by their key head; GGUF files order them otherwise.
  out_.set("tern.delta_net.grouped_values", true);
  const Json* types = find(config_, "layer_types");
  if (types == nullptr || !types->is_array()) {
    return {};
  }
  std::vector<bool> recurrent;
  int64_t interval = 0;
  for (const Json& type : *types) {
    if (type != "linear_attention" && type != "full_attention") {
      return expected("layer_types", "linear_attention and full_attention", type);
    }
    recurrent.push_back(type == "linear_attention");
    if (interval == 0 && !recurrent.back()) {
      interval = static_cast<int64_t>(recurrent.size());
    }
  }
  if (interval > 0 && find(config_, "full_attention_interval") == nullptr) {
    out_.set(prefix_ + "full_attention_interval", interval);
  }
  out_.set(prefix_ + "attention.recurrent_layers", MetaArray(std::move(recurrent)));
  return {};
}

Result<void> Translator::sections() {
  const Json* found = find(rope_.full, "mrope_section");
  std::vector<int64_t> sections = {11, 11, 10, 0};
  if (found != nullptr) {
    if (!found->is_array() || found->size() > sections.size() ||
        !std::ranges::all_of(*found, [](const Json& s) { return s.is_number_integer(); })) {
      return expected("mrope_section", "up to four whole numbers", *found);
    }
    sections = found->get<std::vector<int64_t>>();
    sections.resize(4);
  }
  out_.set(prefix_ + "rope.dimension_sections", MetaArray(std::move(sections)));
  return {};
}

Result<void> Translator::experts() {
  constexpr std::array<std::pair<const char*, const char*>, 4> kIntegers = {
      {{"num_experts", "expert_count"},
       {"num_local_experts", "expert_count"},  // in folders of transformers 5
       {"num_experts_per_tok", "expert_used_count"},
       {"moe_intermediate_size", "expert_feed_forward_length"}}};
  for (const auto& [from, key] : kIntegers) {
    RETURN_IF_ERROR(integer(from, key));
  }
  // Layers with other parts, of which Tern knows none in these models.
  for (const char* other : {"num_shared_experts", "first_k_dense_replace"}) {
    if (const Json* count = find(config_, other); count != nullptr && *count != 0) {
      return expected(other, "0", *count);
    }
  }
  if (const Json* step = find(config_, "decoder_sparse_step"); step != nullptr && *step != 1) {
    return expected("decoder_sparse_step", "1 (experts in every layer)", *step);
  }
  if (const Json* dense = find(config_, "mlp_only_layers"); dense != nullptr && !dense->empty()) {
    return expected("mlp_only_layers", "none (experts in every layer)", *dense);
  }
  const bool maple = prefix_ == "maple.";
  // What transformers takes where a folder does not say.
  const Json* shares = find(config_, "norm_topk_prob");
  if (shares == nullptr ? !maple : *shares != true) {
    return expected("norm_topk_prob", "true (shares of the chosen experts that add up to 1)",
                    shares == nullptr ? Json(false) : *shares);
  }
  if (!maple) {
    return {};
  }
  const Json* unrotated = find(config_, "nope_on_global_attention");
  if (unrotated == nullptr || *unrotated != true) {
    return expected("nope_on_global_attention", "true (no RoPE in layers without a window)",
                    unrotated == nullptr ? Json() : *unrotated);
  }
  // Its own code bounds them; no key says so.
  const double layers = number_or("num_hidden_layers", 0);
  if (layers >= 1 && layers <= 65536) {
    out_.set(prefix_ + "swiglu_clamp_exp",
             MetaArray(std::vector<double>(static_cast<size_t>(layers), 7.0)));
  }
  return {};
}

// What is particular to an architecture.
Result<void> translate_scales(const Json& config, std::string_view architecture, Translator& to) {
  if (architecture == "minicpm") {
    to.set_real("embedding_scale", to.number_or("scale_emb", 1));
    to.set_real("residual_scale",
                to.number_or("scale_depth", 1) / std::sqrt(to.number_or("num_hidden_layers", 1)));
    to.set_real("logit_scale", to.number_or("hidden_size", 1) / to.number_or("dim_model_base", 1));
  } else if (architecture == "gemma3") {
    to.set_real("attention.scale", 1 / std::sqrt(to.number_or("query_pre_attn_scalar", 256)));
    RETURN_IF_ERROR(to.real("final_logit_softcapping", "final_logit_softcapping"));
    RETURN_IF_ERROR(to.real("attn_logit_softcapping", "attn_logit_softcapping"));
  } else if (architecture == "qwen35") {
    RETURN_IF_ERROR(to.delta_net());
    RETURN_IF_ERROR(to.sections());
    if (const Json* gate = find(config, "attn_output_gate"); gate != nullptr && *gate != true) {
      return expected("attn_output_gate", "true", *gate);
    }
  } else if (architecture == "qwen3moe" || architecture == "maple") {
    RETURN_IF_ERROR(to.experts());
  } else if (architecture == "cohere2") {
    to.set_real("logit_scale", to.number_or("logit_scale", 0.0625));
    RETURN_IF_ERROR(to.real("layer_norm_eps", "attention.layer_norm_epsilon"));
    if (const Json* norms = find(config, "use_qk_norm");
        norms != nullptr && norms->is_boolean() && norms->get<bool>()) {
      return expected("use_qk_norm", "false", *norms);
    }
  }
  return {};
}

}  // namespace

Result<void> translate_config(const Json& whole, HuggingFaceReader& out) {
  ASSIGN_OR_RETURN(const std::string_view architecture, architecture_of(whole));
  // Of models that see as well, the part that reads and writes.
  const Json* of_text = architecture == "qwen35" ? find(whole, "text_config") : nullptr;
  const Json& config = of_text != nullptr && of_text->is_object() ? *of_text : whole;
  out.set("general.architecture", out.keep(std::string(architecture)));
  Translator to(config, architecture, out);
  constexpr std::array<std::pair<const char*, const char*>, 7> kIntegers = {
      {{"num_hidden_layers", "block_count"},
       {"hidden_size", "embedding_length"},
       {"intermediate_size", "feed_forward_length"},
       {"num_attention_heads", "attention.head_count"},
       {"num_key_value_heads", "attention.head_count_kv"},
       {"head_dim", "attention.key_length"},
       {"max_position_embeddings", "context_length"}}};
  for (const auto& [from, key] : kIntegers) {
    RETURN_IF_ERROR(to.integer(from, key));
  }
  RETURN_IF_ERROR(to.integer("head_dim", "attention.value_length"));
  RETURN_IF_ERROR(to.real("rms_norm_eps", "attention.layer_norm_rms_epsilon"));
  RETURN_IF_ERROR(to.rope());
  // GGUF files of the llama family reorder the rows of queries and keys so that pairs lie side by side; here they do not, but for
  // Cohere, whose own code rotates neighbours.
  out.set("tern.rope.rotate_half", architecture != "cohere2");
  RETURN_IF_ERROR(to.activation());
  RETURN_IF_ERROR(to.windows());
  return translate_scales(config, architecture, to);
}

}  // namespace tern
