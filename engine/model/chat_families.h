#pragma once
// The chat formats that are known by name. Data: how each is recognised, what ends its turns, how
// it is written.

#include <span>
#include <string_view>

namespace tern {

struct ChatFamily {
  std::string_view name;
  // Every one of them stands in a template of this family ("" = unused); the first family that fits
  // is taken.
  std::string_view markers[3];
  // Tokens that end a turn, separated by blanks. A vocabulary without one of them is no error.
  std::string_view stop_tokens;
  // Jinja; empty for families whose files always bring their own.
  std::string_view source;
};

std::span<const ChatFamily> chat_families();

// By a template's text; null if no family's markers are there.
const ChatFamily* recognise_family(std::string_view template_text);
// A family with a built-in template by its name ("tinyllama" is zephyr too), or null.
const ChatFamily* find_family(std::string_view name);
// For a file without a template: by general.architecture and general.name; null for base models and
// unknown ones.
const ChatFamily* family_of_model(std::string_view architecture, std::string_view name);

}  // namespace tern
