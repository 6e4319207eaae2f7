#include "remote/offline.h"

#include "engine/base/ascii.h"
#include "engine/base/environment.h"

namespace tern {

std::string offline_variable(const std::function<std::string(const std::string&)>& variable) {
  for (const char* name : {"TERN_OFFLINE", "HF_HUB_OFFLINE"}) {
    std::string value = lower(variable(name));
    value.erase(0, std::min(value.find_first_not_of(" \t"), value.size()));
    value.erase(value.find_last_not_of(" \t\r\n") + 1);
    if (!value.empty() && value != "0" && value != "false" && value != "no" && value != "off") {
      return name;
    }
  }
  return {};
}

std::string offline_variable() {
  return offline_variable([](const std::string& name) { return environment(name); });
}

}  // namespace tern
