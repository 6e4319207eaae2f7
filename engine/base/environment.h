#pragma once
// What the user's environment says.

#include <cstdlib>
#include <filesystem>
#include <string>

namespace tern {

// The value of a variable; empty if it is not set.
inline std::string environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::string() : std::string(value);
}

// Tern's folder within one of the XDG specification: that which `variable` names, else `in_home` in the home folder.
inline std::filesystem::path xdg_folder(const char* variable, const char* in_home) {
  std::filesystem::path base = environment(variable);
  if (base.empty()) {
    const std::string home = environment("HOME");
    base = std::filesystem::path(home.empty() ? "." : home) / in_home;
  }
  return base / "tern";
}

}  // namespace tern
