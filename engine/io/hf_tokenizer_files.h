#pragma once
// The forms in which a Hugging Face folder keeps its tokenizer, brought to one: that of tokenizer.json.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace tern {

struct TokenizerFiles {
  std::string file;          // what the vocabulary was read from, for errors
  nlohmann::json tokenizer;  // as tokenizer.json
  std::vector<double>
      scores;             // by id, of SentencePiece's own file, in the place of merges; else empty
  nlohmann::json config;  // tokenizer_config.json, with what else names special tokens
  std::vector<std::string> notices;
};

// tokenizer.json; or SentencePiece's tokenizer.model; or vocab.json with merges.txt. With the tokens that
// tokenizer_config.json (added_tokens_decoder), added_tokens.json and special_tokens_map.json add, as transformers 5
// does. `model_config` is config.json, which names the model's type where tokenizer_config.json names no class.
Result<TokenizerFiles> read_tokenizer_files(const std::filesystem::path& folder,
                                            const nlohmann::json& model_config);

// A JSON file that a model may lack: an empty object then.
Result<nlohmann::json> read_json_if_there(const std::filesystem::path& path);

}  // namespace tern
