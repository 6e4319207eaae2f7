#pragma once
// What was typed, as the commands' declarations take it: spellings of llama.cpp and Ollama translated, every word of the line
// accounted for before anything runs.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace tern::cli {

struct Arguments {
  std::vector<std::string> words;  // without the program's name
  std::vector<std::string> notes;
};

// `app`: the program with all its commands. Errors name what was typed and what is nearest to it.
Result<Arguments> read_arguments(const CLI::App& app, std::vector<std::string> typed);

}  // namespace tern::cli
