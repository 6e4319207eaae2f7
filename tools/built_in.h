#pragma once
// Files of the repository that the program carries, so that it needs none beside it. CMake writes tools/built_in.cpp of the
// build tree from them.

#include <string_view>

namespace tern::cli {

extern const std::string_view kProvidersJson;    // remote/providers.json
extern const std::string_view kCatalogJson;      // models/catalog.json
extern const std::string_view kBenchPlotScript;  // tools/bench_plot.py

}  // namespace tern::cli
