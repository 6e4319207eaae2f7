// Linked into every test: what the user has set for Tern, for downloads and for providers is no part of a test. TERN_ISA says
// which kernels to test, TERN_TEST_* and TERN_EXPECTED_* are for the tests themselves.

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

extern char** environ;

namespace {

bool is_the_users(std::string_view name) {
  if (name == "TERN_ISA" || name.starts_with("TERN_TEST_") || name.starts_with("TERN_EXPECTED_")) {
    return false;
  }
  for (const std::string_view prefix : {"TERN_", "XDG_", "HF_", "OPENAI_", "HOLYSHEEP_"}) {
    if (name.starts_with(prefix)) {
      return true;
    }
  }
  return name.ends_with("_proxy") || name.ends_with("_PROXY") || name.ends_with("_API_KEY");
}

[[maybe_unused]] const bool cleaned = [] {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (is_the_users(name)) {
      names.emplace_back(name);
    }
  }
  for (const std::string& name : names) {
    ::unsetenv(name.c_str());
  }
  // Nothing of the user's home is read or written.
  ::setenv("HOME", "/nonexistent", 1);
  return true;
}();

}  // namespace
