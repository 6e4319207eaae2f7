// PEFT adapters: adapter_config.json up to the first zero byte, adapter_model.safetensors after it.

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/io/lora_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const uint8_t* end = data + size;
  const uint8_t* zero = std::find(data, end, 0);
  const nlohmann::json config = nlohmann::json::parse(data, zero, nullptr, false);
  if (!config.is_object() || zero == end) {
    return 0;
  }
  const std::span<const uint8_t> rest(zero + 1, end);
  const auto pairs = tern::read_peft(config, std::as_bytes(rest));
  if (!pairs) {
    return 0;
  }
  for (const tern::LoraPair& pair : *pairs) {
    if (pair.a.rows() != pair.b.cols() || pair.a.data.empty() || pair.b.data.empty()) {
      std::abort();
    }
    // Every byte that a kernel would read is there.
    unsigned sum = 0;
    for (const auto& matrix : {pair.a, pair.b}) {
      for (const std::byte byte : matrix.data) {
        sum += static_cast<unsigned>(byte);
      }
    }
    if (sum == UINT32_MAX) {
      std::abort();
    }
  }
  return 0;
}
