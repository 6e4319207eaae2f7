#pragma once
// Draws measurements with Python's matplotlib, by the script bench_plot.py, which is built in.

#include <string>

#include "engine/base/result.h"

namespace tern::cli {

class Plotter {
 public:
  // Looks for everything that drawing needs, before anything is measured. Errors: the file's name ends in neither .png nor
  // .svg; Python or matplotlib is missing.
  static Result<Plotter> create(const std::string& file);

  // Draws what `tern bench -o json` prints.
  Result<void> draw(const std::string& json) const;

 private:
  Plotter(std::string python, std::string file)
      : python_(std::move(python)), file_(std::move(file)) {}

  std::string python_;  // which of them has matplotlib
  std::string file_;
};

}  // namespace tern::cli
