#pragma once
// The text of a Jinja template cut into tokens, with the white space handled as Hugging Face's
// environment does (trim_blocks and lstrip_blocks on, one final line break dropped).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/jinja_value.h"

namespace tern::jinja {

struct Token {
  enum class Kind : uint8_t {
    kText,         // between tags; never empty
    kOutputBegin,  // {{
    kOutputEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,  // `text` is the value, escapes resolved
    kInt,
    kFloat,
    kOperator,  // `text` is its spelling
    kEnd,       // of the template
  };
  Kind kind;
  int line;  // counted from 1
  std::string text;
};

// Throws TemplateError. The last token is kEnd.
std::vector<Token> tokenize(std::string_view source);

}  // namespace tern::jinja
