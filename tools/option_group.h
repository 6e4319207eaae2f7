#pragma once
// The heading under which options are listed by --help.

#include <CLI/CLI.hpp>
#include <string>

namespace tern::cli {

// What is declared while it lives stands under `title`.
class OptionGroup {
 public:
  OptionGroup(CLI::App& app, const std::string& title)
      : app_(app), before_(app.option_defaults()->get_group()) {
    app.option_defaults()->group(title);
  }
  OptionGroup(const OptionGroup&) = delete;
  OptionGroup& operator=(const OptionGroup&) = delete;
  ~OptionGroup() { app_.option_defaults()->group(before_); }

 private:
  CLI::App& app_;
  std::string before_;
};

}  // namespace tern::cli
