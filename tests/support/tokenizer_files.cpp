#include "tests/support/tokenizer_files.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace tern::testing {

std::string byte_spelling(unsigned byte) {
  const bool prints = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
  unsigned codepoint = byte;
  if (!prints) {
    codepoint = 256;
    for (unsigned other = 0; other < byte; ++other) {
      codepoint += !((other > 32 && other < 127) || (other > 160 && other != 173));
    }
  }
  return codepoint < 128 ? std::string(1, static_cast<char>(codepoint))
                         : std::string{static_cast<char>(0xC0 | (codepoint >> 6)),
                                       static_cast<char>(0x80 | (codepoint & 0x3F))};
}

namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return nlohmann::json::parse(in);
}

}  // namespace

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
  const nlohmann::json file = read_json(path);
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

OwnedTokenizerData load_own_bpe(const std::filesystem::path& path, std::string_view pre) {
  const nlohmann::json file = read_json(path);
  OwnedTokenizerData data;
  data.model = "gpt2";
  data.pre = pre;
  const std::pair<const char*, TokenType> parts[] = {{"tokens", TokenType::kNormal},
                                                     {"control", TokenType::kControl},
                                                     {"user_defined", TokenType::kUserDefined}};
  for (const auto& [key, type] : parts) {
    for (const auto& token : file.at(key)) {
      data.set_token(data.tokens.size(), token.get<std::string>(), type);
    }
  }
  for (const auto& merge : file.at("merges")) {
    data.add_merge(merge.get<std::string>());
  }
  return data;
}

OwnedTokenizerData load_excerpt(const std::filesystem::path& path) {
  const nlohmann::json file = read_json(path);
  OwnedTokenizerData data;
  data.model = "gpt2";
  data.pre = file.at("pre").get<std::string>();
  for (const auto& [spelling, id] : file.at("tokens").items()) {
    data.set_token(id.get<size_t>(), spelling, TokenType::kNormal);
  }
  for (const auto& [spelling, id] : file.at("added").items()) {
    data.set_token(id.get<size_t>(), spelling, TokenType::kUserDefined);
  }
  for (const auto& merge : file.at("merges")) {
    data.add_merge(merge.get<std::string>());
  }
  return data;
}

OwnedTokenizerData load_own_spm(const std::filesystem::path& path, bool space_prefix) {
  const nlohmann::json file = read_json(path);
  OwnedTokenizerData data;
  data.model = "llama";
  data.rest.add_space_prefix = space_prefix;
  for (const auto& piece : file.at("pieces")) {  // sentencepiece numbers the types as GGUF does
    data.set_token(data.tokens.size(), piece.at(0).get<std::string>(),
                   static_cast<TokenType>(piece.at(2).get<int>()), piece.at(1).get<double>());
  }
  return data;
}

}  // namespace tern::testing
