#include "engine/base/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

namespace tern {
namespace {

std::filesystem::path home_of_password_database() {
  constexpr size_t kMostBytes = size_t{1} << 20;  // of one entry, whose size is not told beforehand
  for (std::vector<char> memory(4096); memory.size() <= kMostBytes;
       memory.resize(memory.size() * 2)) {
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwuid_r(::geteuid(), &entry, memory.data(), memory.size(), &found);
    if (error != ERANGE) {
      return found == nullptr || found->pw_dir == nullptr ? "" : found->pw_dir;
    }
  }
  return {};
}

}  // namespace

std::string environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::string() : std::string(value);
}

std::filesystem::path home_folder() {
  std::filesystem::path home = environment("HOME");
  if (!home.is_absolute()) {
    home = home_of_password_database();
  }
  return home.is_absolute() ? home : std::filesystem::path();
}

std::filesystem::path xdg_folder(const char* variable, const char* in_home) {
  if (const std::filesystem::path named = environment(variable); named.is_absolute()) {
    return named / "tern";
  }
  const std::filesystem::path home = home_folder();
  return home.empty() ? home : home / in_home / "tern";
}

std::filesystem::path xdg_file(const char* variable, const char* in_home, std::string_view name) {
  const std::filesystem::path folder = xdg_folder(variable, in_home);
  return folder.empty() ? folder : folder / name;
}

}  // namespace tern
