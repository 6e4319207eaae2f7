#pragma once
// The token that begins every text of a model, which a text may spell again.

#include <string_view>

#include "engine/model/tokenizer.h"

namespace tern {

// Its spelling; empty where texts begin without one.
inline std::string_view text_start(const Tokenizer& tokenizer) {
  const TokenId bos = tokenizer.bos();
  if (bos < 0) {
    return {};
  }
  const std::vector<TokenId> any = tokenizer.encode("x");
  return !any.empty() && any.front() == bos ? tokenizer.spelling(bos) : std::string_view();
}

// The text without it at the beginning, however often it stands there. An empty one takes nothing away.
inline std::string_view without_start(std::string_view text, std::string_view start) {
  while (!start.empty() && text.starts_with(start)) {
    text.remove_prefix(start.size());
  }
  return text;
}

}  // namespace tern
