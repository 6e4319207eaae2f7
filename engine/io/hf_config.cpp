// config.json as the keys of a GGUF file.

#include <array>
#include <cmath>
#include <numbers>

#include "engine/io/hugging_face.h"

namespace tern {
namespace {

using Json = nlohmann::json;

struct Architecture {
  std::string_view theirs;  // "architectures" in config.json
  std::string_view ours;    // general.architecture
};
constexpr Architecture kArchitectures[] = {{"BitNetForCausalLM", "bitnet-b1.58"},
                                           {"BitnetForCausalLM", "bitnet"},
                                           {"LlamaForCausalLM", "llama"},
                                           {"Qwen3ForCausalLM", "qwen3"}};

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
  return Error{"config.json: key architectures: expected one that Tern runs (" + known +
               "), found " + printable(found) + "."};
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

  Result<void> rope();

 private:
  Result<void> scaling(const Json& rope);
  Result<void> llama3_factors(const Json& rope);

  const Json& config_;
  std::string prefix_;
  HuggingFaceReader& out_;
};

Result<void> Translator::rope() {
  // Files of transformers 5 keep everything in rope_parameters, older ones the base beside a rope_scaling.
  const Json* parameters = find(config_, "rope_parameters");
  const Json* old = find(config_, "rope_scaling");
  if (parameters != nullptr) {
    RETURN_IF_ERROR(real(*parameters, "rope_theta", "rope.freq_base"));
    return scaling(*parameters);
  }
  RETURN_IF_ERROR(real("rope_theta", "rope.freq_base"));
  return old == nullptr ? Result<void>() : scaling(*old);
}

Result<void> Translator::scaling(const Json& rope) {
  const Json* type = find(rope, "rope_type");
  type = type != nullptr ? type : find(rope, "type");
  const std::string kind =
      type != nullptr && type->is_string() ? type->get<std::string>() : "default";
  if (kind == "default") {
    return {};
  }
  if (kind == "llama3") {
    return llama3_factors(rope);
  }
  if (kind == "linear" || kind == "yarn") {
    out_.set(prefix_ + "rope.scaling.type", out_.keep(kind));
    RETURN_IF_ERROR(real(rope, "factor", "rope.scaling.factor"));
    RETURN_IF_ERROR(real(rope, "beta_fast", "rope.scaling.yarn_beta_fast"));
    RETURN_IF_ERROR(real(rope, "beta_slow", "rope.scaling.yarn_beta_slow"));
    if (const Json* original = find(rope, "original_max_position_embeddings");
        original != nullptr && original->is_number_integer()) {
      out_.set(prefix_ + "rope.scaling.original_context_length", original->get<int64_t>());
    }
    return {};
  }
  return Error{"config.json: key rope_type: expected default, linear, llama3 or yarn, found " +
               printable(kind) + "; the model would be run wrongly."};
}

// Llama 3.1's scaling: slow pairs turn `factor` times slower, fast ones as before, those between by a mixture; written as one
// divisor a pair, as GGUF files carry it. Source: the Llama 3.1 model card's code.
Result<void> Translator::llama3_factors(const Json& rope) {
  const auto number = [&](const char* key, double fallback) {
    const Json* value = find(rope, key);
    return value != nullptr && value->is_number() ? value->get<double>() : fallback;
  };
  const double factor = number("factor", 8);
  const double low = number("low_freq_factor", 1);
  const double high = number("high_freq_factor", 4);
  const double original = number("original_max_position_embeddings", 8192);
  const Json* theta = find(rope, "rope_theta");
  theta = theta != nullptr ? theta : find(config_, "rope_theta");
  const double base = theta != nullptr && theta->is_number() ? theta->get<double>() : 10000;
  const Json* head = find(config_, "head_dim");
  int64_t dims = head != nullptr && head->is_number_integer() ? head->get<int64_t>() : 0;
  if (dims == 0) {
    const Json* width = find(config_, "hidden_size");
    const Json* heads = find(config_, "num_attention_heads");
    const bool known = width != nullptr && heads != nullptr && width->is_number_integer() &&
                       heads->is_number_integer() && heads->get<int64_t>() > 0;
    dims = known ? width->get<int64_t>() / heads->get<int64_t>() : 0;
  }
  if (dims < 2 || dims > 65536 || !(factor > 0 && high > low && original > 0 && base > 0)) {
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

}  // namespace

Result<void> translate_config(const Json& config, HuggingFaceReader& out) {
  ASSIGN_OR_RETURN(const std::string_view architecture, architecture_of(config));
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
  // GGUF files of the llama family reorder the rows of queries and keys so that pairs lie side by side; here they do not.
  out.set("tern.rope.rotate_half", true);
  if (const Json* act = find(config, "hidden_act"); act != nullptr && act->is_string()) {
    const auto name = act->get<std::string>();
    if (name != "silu" && name != "relu2") {
      return expected("hidden_act", "silu or relu2", *act);
    }
    out.set(std::string(architecture) + ".hidden_activation", out.keep(name));
  }
  if (const Json* window = find(config, "use_sliding_window");
      window != nullptr && window->is_boolean() && window->get<bool>()) {
    return expected("use_sliding_window", "false (Tern computes full attention)", *window);
  }
  return {};
}

}  // namespace tern
