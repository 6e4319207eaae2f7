#include "engine/arch/families.h"
#include "engine/arch/windows.h"
#include "engine/model/config_keys.h"

namespace tern {

Result<void> configure_cohere2(const TensorFile& file, ModelConfig& config,
                               std::vector<std::string>&) {
  const Keys keys(file, config.architecture);
  config.norm = NormKind::kLayer;
  config.parallel = true;
  config.ropes[0].rotate_half = false;
  ASSIGN_OR_RETURN(config.logit_scale, keys.positive_or("logit_scale", 1.0F));
  constexpr int32_t kPeriod = 4;  // three layers with a window, one without
  RETURN_IF_ERROR(read_windows(file, config, kPeriod));
  for (LayerConfig& layer : config.layer_configs) {
    layer.rope = layer.window > 0 ? 0 : LayerConfig::kNoRope;
  }
  return {};
}

}  // namespace tern
