#pragma once
// PEFT adapters whose tensors have been found already.

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "engine/io/lora_file.h"
#include "engine/io/safetensors.h"

namespace tern {

// As read_peft(config, bytes) of lora_file.h.
Result<std::vector<LoraPair>> read_peft(const nlohmann::json& config,
                                        std::span<const safetensors::Entry> entries);

}  // namespace tern
