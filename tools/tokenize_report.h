#pragma once
// What `tern tokenize` prints of a text's tokens.

#include <span>
#include <string>

#include "engine/model/tokenizer.h"

namespace tern::cli {

enum class TokenStyle {
  kPieces,  // a line a token, `  9906 -> 'Hello'`: control characters and broken UTF-8 escaped
  kIds,     // one line: 9906 1917
  kJson,  // one line: [{"id":9906,"piece":"Hello"}], the piece an array of bytes if it is not UTF-8
};

std::string tokenize_report(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                            TokenStyle style);

}  // namespace tern::cli
