#pragma once
// The options of llama.cpp and Ollama that Tern spells otherwise, does not need, or does not have yet. One table, so that none of
// them is ever taken for something else.

#include <span>
#include <string_view>

namespace tern::cli {

enum class ForeignFate : uint8_t {
  kMeans,    // `text` is the option of Tern that does the same
  kWord,     // its value is what a word without an option is here: the prompt, the text
  kSilent,   // Tern always does this
  kIgnored,  // it changes no result: one note names all of these
  kRefused,  // it would change the result: `text` says what to do instead
};

enum class ForeignValue : uint8_t {
  kNone,
  kOne,
  kTwo,
  kSwitch,  // on, off, auto, 0, 1, true or false may follow
};

struct ForeignOption {
  std::string_view names;  // all spellings, with blanks between them
  ForeignValue value;
  ForeignFate fate;
  std::string_view text;
  std::string_view off =
      {};  // values that ask for nothing, with blanks between them: they are ignored in silence
};

std::span<const ForeignOption> foreign_options();
// Null if no row has this spelling (with its dashes).
const ForeignOption* find_foreign_option(std::string_view name);
// Whether `list`, words with blanks between them, has this word.
bool list_has(std::string_view list, std::string_view word);
// Whether the word may follow an option of kSwitch.
bool is_switch_value(std::string_view word);

// Commands of others: what does the same here, as "list" or as a sentence. Empty: not known.
struct ForeignCommand {
  std::string_view name;
  std::string_view command;  // of Tern; empty: there is none
  std::string_view text;     // what to do where there is none
};
const ForeignCommand* find_foreign_command(std::string_view name);

}  // namespace tern::cli
