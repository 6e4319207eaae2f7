#pragma once
// Draws measurements with Python's matplotlib, by the script bench_plot.py.

#include <string>

#include "engine/base/result.h"

namespace tern::cli {

class Plotter {
 public:
  // Looks for everything that drawing needs, before anything is measured. Errors: the file's name ends in neither .png nor
  // .svg; Python, matplotlib or the script is missing.
  static Result<Plotter> create(const std::string& file);

  // Draws what `tern bench -o json` prints.
  Result<void> draw(const std::string& json) const;

 private:
  Plotter(std::string command, std::string file)
      : command_(std::move(command)), file_(std::move(file)) {}

  std::string command_;  // for the shell; reads the JSON
  std::string file_;
};

}  // namespace tern::cli
