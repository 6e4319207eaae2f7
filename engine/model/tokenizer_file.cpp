#include <algorithm>

#include "engine/model/tokenizer.h"
#include "engine/model/tokenizer_data.h"

namespace tern {
namespace {

// An array that may be missing: a null becomes an empty span.
template <class T>
Result<std::span<const T>> array_of(const TensorFile& file, std::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<T>* values, file.get_array<T>(key));
  return values ? std::span<const T>(*values) : std::span<const T>();
}

// Keys that ask for something that nothing here does.
Result<void> note_undone(const TensorFile& file, TokenizerData& data) {
  struct Undone {
    const char* key;
    const char* line;
    bool bpe_alone = false;
  };
  constexpr Undone kUndone[] = {
      {"tokenizer.ggml.add_sep_token", "no separator is put behind a text"},
      {"tokenizer.ggml.remove_extra_whitespaces",
       "several spaces stay several, and texts with such get other tokens"},
      {"tokenizer.ggml.add_space_prefix", "no space is put in front of a text", true}};
  for (const Undone& undone : kUndone) {
    ASSIGN_OR_RETURN(const std::optional<bool> asked, file.get_bool(undone.key));
    // Vocabularies that spell spaces as SentencePiece does are read as its own, the space in front included.
    const bool here =
        !undone.bpe_alone ||
        (data.model == "gpt2" && std::ranges::find(data.tokens, "▁") == data.tokens.end());
    if (asked.value_or(false) && here) {
      data.undone.push_back(std::string(undone.key) +
                            " is true, which is not done: " + undone.line);
    }
  }
  if (file.metadata().contains("tokenizer.ggml.precompiled_charsmap")) {
    data.undone.emplace_back(
        "tokenizer.ggml.precompiled_charsmap changes characters, which is not done: texts with "
        "such "
        "characters get other tokens");
  }
  return {};
}

Result<TokenizerData> read_data(const TensorFile& file) {
  TokenizerData data;
  ASSIGN_OR_RETURN(const auto model, file.get_string("tokenizer.ggml.model"));
  if (!model) {
    return Error{
        "tokenizer.ggml.model: expected gpt2 or llama, found no such key. The file has no "
        "tokenizer in it: use "
        "a complete model file"};
  }
  data.model = *model;
  ASSIGN_OR_RETURN(const auto pre, file.get_string("tokenizer.ggml.pre"));
  data.pre = pre.value_or("");
  ASSIGN_OR_RETURN(data.tokens, array_of<std::string_view>(file, "tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(data.types, array_of<int64_t>(file, "tokenizer.ggml.token_type"));
  ASSIGN_OR_RETURN(data.bos, file.get_int("tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(data.eos, file.get_int("tokenizer.ggml.eos_token_id"));
  ASSIGN_OR_RETURN(data.unknown, file.get_int("tokenizer.ggml.unknown_token_id"));
  ASSIGN_OR_RETURN(data.add_bos, file.get_bool("tokenizer.ggml.add_bos_token"));
  ASSIGN_OR_RETURN(data.add_eos, file.get_bool("tokenizer.ggml.add_eos_token"));
  ASSIGN_OR_RETURN(data.add_space_prefix, file.get_bool("tokenizer.ggml.add_space_prefix"));
  ASSIGN_OR_RETURN(data.nfc, file.get_bool("tern.tokenizer.nfc"));
  ASSIGN_OR_RETURN(data.split_at_spaces, file.get_bool("tern.tokenizer.split_at_spaces"));
  ASSIGN_OR_RETURN(data.strips_left, array_of<int64_t>(file, "tern.tokenizer.strips_left"));
  ASSIGN_OR_RETURN(data.strips_right, array_of<int64_t>(file, "tern.tokenizer.strips_right"));
  ASSIGN_OR_RETURN(data.single_words, array_of<int64_t>(file, "tern.tokenizer.single_words"));
  ASSIGN_OR_RETURN(const auto prefix, file.get_string("tern.tokenizer.space_prefix"));
  if (prefix) {
    data.space_prefix = space_prefix_named(*prefix);
    if (!data.space_prefix) {
      return Error{
          "tern.tokenizer.space_prefix: expected never, everywhere, unless-space or first, found "
          "\"" +
          printable(*prefix) + "\""};
    }
  }
  if (data.model == "llama") {
    ASSIGN_OR_RETURN(data.scores, array_of<double>(file, "tokenizer.ggml.scores"));
  } else {
    ASSIGN_OR_RETURN(data.merges, array_of<std::string_view>(file, "tokenizer.ggml.merges"));
  }
  RETURN_IF_ERROR(note_undone(file, data));
  return data;
}

}  // namespace

std::optional<SpacePrefix> space_prefix_named(std::string_view name) {
  constexpr std::pair<std::string_view, SpacePrefix> kNames[] = {
      {"never", SpacePrefix::kNever},
      {"everywhere", SpacePrefix::kEverywhere},
      {"unless-space", SpacePrefix::kUnlessSpace},
      {"first", SpacePrefix::kFirst}};
  for (const auto& [known, prefix] : kNames) {
    if (name == known) {
      return prefix;
    }
  }
  return std::nullopt;
}

Result<Tokenizer> Tokenizer::from_file(const TensorFile& file) {
  const std::string where = file.path().string();
  auto data = read_data(file);
  if (!data) {
    return data.error().in(where);
  }
  auto tokenizer = from_data(*data);
  if (!tokenizer) {
    return tokenizer.error().in(where);
  }
  return tokenizer;
}

}  // namespace tern
