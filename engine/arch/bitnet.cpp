#include <optional>
#include <string_view>

#include "engine/arch/families.h"

namespace tern {
namespace {

// `<architecture>.hidden_activation`, under the names that converters write, or `usual` if the file does not say.
Result<Activation> read_activation(const TensorFile& file, const ModelConfig& config,
                                   Activation usual) {
  const std::string key = config.architecture + ".hidden_activation";
  ASSIGN_OR_RETURN(const std::optional<std::string_view> name, file.get_string(key));
  if (!name) {
    return usual;
  }
  for (const std::string_view relu2 : {"relu2", "relu_sqr", "relu_squared", "squared_relu"}) {
    if (*name == relu2) {
      return Activation::kRelu2;
    }
  }
  if (*name == "silu" || *name == "swish") {
    return Activation::kSilu;
  }
  return Error{"key " + key + ": expected silu or relu2, found " + std::string(*name) + "."};
}

Result<void> configure(const TensorFile& file, ModelConfig& config, Activation usual) {
  ASSIGN_OR_RETURN(config.activation, read_activation(file, config, usual));
  config.sub_norms = true;
  config.ropes[0].rotate_half = true;
  return {};
}

}  // namespace

Result<void> configure_bitnet(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices) {
  // Early conversions of 2B-4T to this architecture lost the activation and print nonsense with SiLU.
  const bool is_2b_4t = config.name.find("2B-4T") != std::string::npos;
  RETURN_IF_ERROR(configure(file, config, is_2b_4t ? Activation::kRelu2 : Activation::kSilu));
  if (is_2b_4t && file.metadata().find("bitnet.hidden_activation") == file.metadata().end()) {
    notices.push_back(
        "the file does not name its activation; using squared ReLU, as 2B-4T was trained");
  }
  return {};
}

Result<void> configure_bitnet_2b(const TensorFile& file, ModelConfig& config,
                                 std::vector<std::string>&) {
  return configure(file, config, Activation::kRelu2);
}

}  // namespace tern
