#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/io/formats.h"
#include "engine/io/hugging_face.h"
#include "engine/io/lora_file.h"
#include "engine/io/peft.h"
#include "engine/io/safetensors.h"

namespace tern {
namespace {

using Json = nlohmann::json;
using safetensors::Entry;

// Null, false, zero and empty all mean that an option is not used.
bool is_unset(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() || (found->is_structured() && found->empty()) ||
         (found->is_boolean() && !found->get<bool>());
}

Error refused(const char* key, const Json& config, const std::string& why) {
  return Error{std::string("adapter_config.json: key ") + key + ": " + why + ", found " +
               printable(config.at(key).dump()) + "."};
}

// What an adapter may do beside adding products of two matrices.
Result<void> refuse_more_than_pairs(const Json& config) {
  for (const char* key :
       {"use_dora", "lora_bias", "fan_in_fan_out", "modules_to_save", "trainable_token_indices",
        "layer_replication", "target_parameters", "alora_invocation_tokens", "use_qalora",
        "use_bdlora", "arrow_config", "kasa_config"}) {
    if (!is_unset(config, key)) {
      return refused(key, config,
                     "expected an adapter that does without it, for Tern does not know it");
    }
  }
  if (const auto bias = config.find("bias"); bias != config.end() && *bias != "none") {
    return refused("bias", config, "expected none");
  }
  // These change the model's own weights when training begins, and the adapter counts from there.
  const auto init = config.find("init_lora_weights");
  if (init != config.end() && !init->is_null() && !init->is_boolean() && *init != "gaussian" &&
      *init != "eva" && *init != "orthogonal") {
    return refused("init_lora_weights", config,
                   "expected an adapter of the model's own weights (true, gaussian, eva, "
                   "orthogonal; PEFT can convert others)");
  }
  return {};
}

Result<double> positive(const Json& value, const std::string& key) {
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number > 0) || !std::isfinite(number)) {
    return Error{"adapter_config.json: key " + key + ": expected a number above 0, found " +
                 printable(value.dump()) + "."};
  }
  return number;
}

// A number that is one for all modules, `key`, and others for those that match a pattern of `patterns`.
class ByModule {
 public:
  static Result<ByModule> read(const Json& config, const char* key, const char* patterns) {
    ByModule out;
    out.patterns_key_ = patterns;
    ASSIGN_OR_RETURN(out.usual_, positive(config.value(key, Json()), key));
    if (is_unset(config, patterns)) {
      return out;
    }
    // Each is compared with each module.
    constexpr size_t kMostPatterns = 4096;
    if (!config.at(patterns).is_object() || config.at(patterns).size() > kMostPatterns) {
      return refused(patterns, config,
                     "expected an object of at most " + std::to_string(kMostPatterns) + " names");
    }
    for (const auto& [pattern, value] : config.at(patterns).items()) {
      // PEFT takes regular expressions. Published adapters have names and ends of names.
      const bool plain = !pattern.empty() && std::ranges::all_of(pattern, [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_' || c == '.';
      });
      if (!plain) {
        return Error{std::string("adapter_config.json: key ") + patterns +
                     ": expected names of modules or ends of such, found " + printable(pattern) +
                     ": Tern takes no expressions here."};
      }
      ASSIGN_OR_RETURN(const double number,
                       positive(value, std::string(patterns) + "." + printable(pattern)));
      out.others_.emplace_back(pattern, number);
    }
    return out;
  }

  // PEFT takes the first pattern that matches, an order that JSON does not promise to keep.
  Result<double> of(std::string_view module) const {
    std::optional<double> found;
    for (const auto& [name, value] : others_) {
      const bool matches = module == name || (module.ends_with(name) &&
                                              module[module.size() - name.size() - 1] == '.');
      if (matches && found && *found != value) {
        return Error{"adapter_config.json: key " + patterns_key_ + ": two entries fit " +
                     printable(module) + " and do not agree."};
      }
      if (matches) {
        found = value;
      }
    }
    return found.value_or(usual_);
  }

 private:
  double usual_ = 0;
  std::vector<std::pair<std::string, double>> others_;
  std::string patterns_key_;
};

Result<Tensor> matrix_of(const Entry& entry) {
  Tensor tensor;
  tensor.name = entry.name;
  tensor.shape.assign(entry.shape.rbegin(), entry.shape.rend());
  tensor.data = entry.data;
  tensor.format = entry.dtype == "F32"    ? &formats::kF32
                  : entry.dtype == "F16"  ? &formats::kF16
                  : entry.dtype == "BF16" ? &formats::kBf16
                                          : nullptr;
  if (tensor.format == nullptr || entry.count == 0 || tensor.shape.size() != 2) {
    return Error{"tensor " + printable(entry.name) +
                 ": expected a matrix in F32, F16 or BF16, found one of " +
                 std::to_string(tensor.shape.size()) + " dimensions in " + entry.dtype + "."};
  }
  return tensor;
}

}  // namespace

Result<std::vector<LoraPair>> read_peft(const Json& config, std::span<const Entry> entries) {
  if (const auto type = config.find("peft_type"); type == config.end() || *type != "LORA") {
    return Error{"adapter_config.json: key peft_type: expected LORA, found " +
                 (type == config.end() ? "no such key" : printable(type->dump())) + "."};
  }
  RETURN_IF_ERROR(refuse_more_than_pairs(config));
  ASSIGN_OR_RETURN(const ByModule ranks, ByModule::read(config, "r", "rank_pattern"));
  ASSIGN_OR_RETURN(const ByModule alphas, ByModule::read(config, "lora_alpha", "alpha_pattern"));

  std::map<std::string, LoraPair> halves;
  for (const Entry& entry : entries) {
    constexpr std::string_view kPrefix = "base_model.model.";
    std::string_view module = entry.name;
    const bool is_a = module.ends_with(".lora_A.weight");
    if (!module.starts_with(kPrefix) || (!is_a && !module.ends_with(".lora_B.weight"))) {
      return Error{"tensor " + printable(entry.name) +
                   ": expected only base_model.model.(...).lora_A.weight and .lora_B.weight; "
                   "without this one the adapter would be run wrongly."};
    }
    module = module.substr(kPrefix.size());
    module.remove_suffix(std::string_view(".lora_A.weight").size());
    ASSIGN_OR_RETURN(Tensor matrix, matrix_of(entry));
    ASSIGN_OR_RETURN(const double rank, ranks.of(module));
    const int64_t found = is_a ? matrix.rows() : matrix.cols();
    if (static_cast<double>(found) != rank) {
      return Error{"tensor " + printable(entry.name) + ": expected the rank " +
                   std::to_string(static_cast<int64_t>(rank)) + " of adapter_config.json, found " +
                   std::to_string(found) + "."};
    }
    ASSIGN_OR_RETURN(const double alpha, alphas.of(module));
    LoraPair& pair = halves[gguf_stem(module) + ".weight"];
    pair.scale =
        static_cast<float>(alpha / (is_unset(config, "use_rslora") ? rank : std::sqrt(rank)));
    (is_a ? pair.a : pair.b) = std::move(matrix);
  }
  return complete_pairs(std::move(halves));
}

Result<std::vector<LoraPair>> read_peft(const Json& config, std::span<const std::byte> bytes) {
  ASSIGN_OR_RETURN(const std::vector<Entry> entries, safetensors::read(bytes));
  return read_peft(config, std::span<const Entry>(entries));
}

}  // namespace tern
