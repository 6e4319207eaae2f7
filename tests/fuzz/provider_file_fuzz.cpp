// What users write: providers.json and config.json.

#include <cstdint>
#include <string>

#include "remote/provider_file.h"
#include "remote/user_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(data, data + size);
  tern::ProviderSet set;
  if (tern::add_providers(set, "p", text)) {
    // What was read once is read again, on top of itself.
    if (!tern::add_providers(set, "p", text)) {
      __builtin_trap();
    }
  }
  (void)tern::parse_user_config("c", text);
  return 0;
}
