#include <cmath>

#include "engine/arch/families.h"
#include "engine/model/config_keys.h"

namespace tern {

Result<void> configure_minicpm(const TensorFile& file, ModelConfig& config,
                               std::vector<std::string>&) {
  const Keys keys(file, config.architecture);
  // Like llama, converters permute the rows of q and k.
  config.ropes[0].rotate_half = false;
  // Files of before these keys are of models that all had these values.
  ASSIGN_OR_RETURN(config.embedding_scale, keys.positive_or("embedding_scale", 12.0F));
  ASSIGN_OR_RETURN(
      config.residual_scale,
      keys.positive_or("residual_scale", 1.4F / std::sqrt(static_cast<float>(config.layers))));
  // Converters write what the logits are divided by, the width over that of the smallest model (256); but some write its inverse.
  ASSIGN_OR_RETURN(const float logit_scale,
                   keys.positive_or("logit_scale", static_cast<float>(config.width) / 256.0F));
  config.logit_scale = logit_scale < 1.0F ? logit_scale : 1.0F / logit_scale;
  return {};
}

}  // namespace tern
