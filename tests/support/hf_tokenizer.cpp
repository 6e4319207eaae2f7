#include "tests/support/hf_tokenizer.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace tern::test {

TokenizerData OwnedTokenizerData::view() const {
  TokenizerData data = rest;
  data.model = model;
  data.pre = pre;
  data.tokens = tokens;
  data.scores = scores;
  data.types = types;
  data.merges = merges;
  return data;
}

void OwnedTokenizerData::set_token(size_t id, std::string_view spelling, TokenType type,
                                   double score) {
  if (id >= tokens.size()) {
    tokens.resize(id + 1, "");
    types.resize(id + 1, static_cast<int64_t>(TokenType::kUnused));
    scores.resize(id + 1, 0);
  }
  tokens[id] = texts.emplace_back(spelling);
  types[id] = static_cast<int64_t>(type);
  scores[id] = score;
}

void OwnedTokenizerData::add_merge(std::string_view text) {
  merges.push_back(texts.emplace_back(text));
}

OwnedTokenizerData load_hf_tokenizer(const std::filesystem::path& path, std::string_view pre) {
  std::ifstream in(path, std::ios::binary);
  const nlohmann::json file = nlohmann::json::parse(in);
  OwnedTokenizerData data;
  data.model = "gpt2";
  data.pre = pre;
  for (const auto& [spelling, id] : file.at("model").at("vocab").items()) {
    data.set_token(id.get<size_t>(), spelling, TokenType::kNormal);
  }
  for (const auto& token : file.at("added_tokens")) {
    const bool special = token.at("special").get<bool>();
    data.set_token(token.at("id").get<size_t>(), token.at("content").get<std::string>(),
                   special ? TokenType::kControl : TokenType::kUserDefined);
  }
  for (const auto& merge : file.at("model").at("merges")) {  // "a b", or ["a", "b"] in newer files
    data.add_merge(merge.is_string()
                       ? merge.get<std::string>()
                       : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  }
  return data;
}

}  // namespace tern::test
