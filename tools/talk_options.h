#pragma once
// What `tern run` and `tern chat` have in common: a model, who else may answer, how to choose tokens, and what is said first.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/cli.h"
#include "tools/remote_options.h"
#include "tools/sampling_options.h"
#include "tools/speculation_options.h"

namespace tern::cli {

struct TalkOptions {
  ModelOptions model;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  RemoteOptions remote;
  std::vector<std::string> words;  // the prompt; the first may name the model, as in `ollama run`
  std::string file;                // where the prompt is read from
  std::string system;
  std::string system_file;
  std::string template_file;
  int context = 0;
  bool escape = false;
  bool verbose_prompt = false;
  bool wrap = true;

  void declare(CLI::App& app);
  // Takes the model out of the words and reads the files that were named. To be called once, before the others.
  Result<void> settle();
  // The prompt as it was given: by words, a file or, if `pipe`, through standard input. Nothing: there is none.
  Result<std::optional<std::string>> prompt(bool pipe) const;
  // Where answers are broken between words: at the terminal's edge; 0 where there is none.
  size_t columns() const;

 private:
  Result<void> take_model();
  Result<void> read_system();
};

// The text with \n, \t, \r, \\, \', \" and \xHH as what they stand for, as llama.cpp's -e.
std::string without_escapes(std::string_view text);

}  // namespace tern::cli
