#pragma once
// How --help looks: lines that fit the terminal, and examples under each command.

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace tern::cli {

// To be called when all commands are declared.
void add_help(CLI::App& app);

// The text in lines of at most `width` columns where its words allow it; all but the first begin with `indent` blanks.
std::string wrapped(std::string_view text, size_t width, size_t indent);

}  // namespace tern::cli
