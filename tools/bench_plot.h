#pragma once
// Draws measurements with Python's matplotlib, by the script bench_plot.py, which is built in.

#include <string>

#include "engine/base/output_file.h"
#include "engine/base/result.h"

namespace tern::cli {

class Plotter {
 public:
  // Looks for everything that drawing needs, before anything is measured. Errors: the file's name ends in neither .png nor
  // .svg; Python or matplotlib is missing; the file exists and `replace` is not set.
  static Result<Plotter> create(const std::string& file, bool replace);

  // Draws what `tern bench -o json` prints.
  Result<void> draw(const std::string& json);

 private:
  Plotter(std::string python, OutputFile output)
      : python_(std::move(python)), output_(std::move(output)) {}

  std::string python_;  // which of them has matplotlib
  OutputFile output_;
};

}  // namespace tern::cli
