#include "engine/io/hf_tokenizer_files.h"

#include <algorithm>
#include <array>
#include <set>

#include "engine/base/file.h"
#include "engine/io/file_kind.h"
#include "engine/io/hugging_face.h"
#include "engine/io/sentencepiece.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// The names under which transformers knows special tokens (SPECIAL_TOKENS_ATTRIBUTES).
constexpr std::array<const char*, 7> kSpecialTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
// Lists of further ones: transformers 5's name and that of before.
constexpr std::array<const char*, 2> kMoreSpecialTokens = {"extra_special_tokens",
                                                           "additional_special_tokens"};

// The expressions by which classes of transformers cut words. Sources: tokenization_gpt2.py, tokenization_qwen2.py.
constexpr const char* kQwenSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string text_of(const Json& value) {
  return value.is_string()   ? value.get<std::string>()
         : value.is_object() ? text_of(value.value("content", Json()))
                             : std::string();
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// "LlamaTokenizer" of "LlamaTokenizerFast".
std::string tokenizer_class(const Json& config) {
  std::string name = text_at(config, "tokenizer_class");
  constexpr std::string_view kFast = "Fast";
  return name.ends_with(kFast) ? name.substr(0, name.size() - kFast.size()) : name;
}

std::string how_to_make_tokenizer_json(const std::filesystem::path& folder) {
  const std::string name = printable(folder.string(), 200);
  return "with the Python package transformers this writes a tokenizer.json: python -c \"from "
         "transformers import AutoTokenizer as T; T.from_pretrained('" +
         name + "').save_pretrained('" + name + "')\".";
}

// One entry of added_tokens as tokenizer.json has them.
Json added_token(const Json& id, const std::string& text, bool special) {
  return Json{{"id", id}, {"content", text}, {"special", special}};
}

// What a model asks for and nothing here does.
void note_normalization(const sentencepiece::Model& model, TokenizerFiles& out) {
  if (model.has_charsmap) {
    out.notices.push_back(
        "tokenizer.model changes characters before it cuts words (a precompiled_charsmap, such as "
        "NFKC), which is not done: texts with such characters get other tokens");
  }
  if (model.remove_extra_whitespaces) {
    out.notices.push_back(
        "tokenizer.model makes one space of several (remove_extra_whitespaces), which is not "
        "done: texts with such spaces get other tokens");
  }
}

// Where a space is put in front of words. transformers' class for Llama puts it before the first word alone unless
// told otherwise; others take the older way, behind each special token too.
void set_prefix(const sentencepiece::Model& model, TokenizerFiles& out) {
  const auto says = [&](const char* key, bool otherwise) {
    const auto found = out.config.find(key);
    return found != out.config.end() && found->is_boolean() ? found->get<bool>() : otherwise;
  };
  const bool always = says("legacy", tokenizer_class(out.config) != "LlamaTokenizer");
  if (!says("add_prefix_space", model.add_dummy_prefix)) {
    return;
  }
  if (always) {  // as SentencePiece itself: also before a text that begins with a space
    out.tokenizer["normalizer"] = {
        {"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "\u2581"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
    return;
  }
  out.tokenizer["pre_tokenizer"] = {{"type", "Metaspace"},
                                    {"replacement", "\u2581"},
                                    {"prepend_scheme", "first"},
                                    {"split", false}};
}

// What transformers' classes for such files take where tokenizer_config.json does not say.
void set_class_defaults(TokenizerFiles& out) {
  for (const auto& [key, text] : {std::pair("bos_token", "<s>"), std::pair("eos_token", "</s>"),
                                  std::pair("unk_token", "<unk>")}) {
    if (!out.config.contains(key) && out.tokenizer["model"]["vocab"].contains(text)) {
      out.config[key] = text;
    }
  }
  if (!out.config.contains("add_bos_token")) {
    out.config["add_bos_token"] = true;
  }
}

Result<sentencepiece::Model> open_sentencepiece(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  auto model = sentencepiece::read(bytes);
  if (!model) {
    const std::optional<FileKind> kind = kind_of_file(bytes);
    return (kind && kind->what == "a vocabulary of tiktoken"
                ? Error{"expected a SentencePiece model, found a vocabulary of tiktoken, which "
                        "does not say how words are cut; " +
                        how_to_make_tokenizer_json(path.parent_path())}
                : model.error())
        .in(path.string());
  }
  if (model->kind != sentencepiece::Model::kBpe) {
    return Error{
        path.string() + ": expected a SentencePiece model of the kind BPE, found one of the kind " +
        (model->kind == sentencepiece::Model::kUnigram ? "unigram" : std::to_string(model->kind)) +
        "; Tern has no such tokenizer."};
  }
  return model;
}

Result<void> read_sentencepiece(const std::filesystem::path& path, TokenizerFiles& out) {
  using sentencepiece::PieceType;
  ASSIGN_OR_RETURN(const sentencepiece::Model model, open_sentencepiece(path));
  note_normalization(model, out);
  Json vocab = Json::object();
  Json added = Json::array();
  Json unknown;
  bool has_bytes = false;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const sentencepiece::Piece& piece = model.pieces[id];
    out.scores.push_back(piece.score);
    vocab[piece.text] = id;
    has_bytes |= piece.type == PieceType::kByte;
    unknown = piece.type == PieceType::kUnknown ? Json(piece.text) : unknown;
    if (piece.type == PieceType::kControl || piece.type == PieceType::kUserDefined) {
      added.push_back(added_token(id, piece.text, piece.type == PieceType::kControl));
    }
  }
  out.tokenizer = {{"added_tokens", std::move(added)},
                   {"model",
                    {{"type", "BPE"},
                     {"vocab", std::move(vocab)},
                     {"merges", Json::array()},
                     {"unk_token", std::move(unknown)},
                     {"byte_fallback", has_bytes}}}};
  set_prefix(model, out);
  set_class_defaults(out);
  return {};
}

// Lines of two parts, best first; a first line that begins with # gives the format's version.
Result<Json> read_merges_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return missing_file(path);
  }
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  if (const auto checked = refuse_wrong_kind_of_text(text, "a list of merges"); !checked) {
    return checked.error().in(path.string());
  }
  Json merges = Json::array();
  size_t line_number = 0;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find('\n', from), text.size());
    std::string line = text.substr(from, end - from);
    from = end + 1;
    ++line_number;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) {
      continue;
    }
    constexpr size_t kMostMerges = 1'000'000;  // as JSON may have lists (json_limits.h)
    if (merges.size() == kMostMerges) {
      return Error{path.string() + ": expected at most " + std::to_string(kMostMerges) +
                   " merges, found more; download it again."};
    }
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      return Error{path.string() + ": line " + std::to_string(line_number) +
                   ": expected two parts with a space between, found \"" + printable(line) + "\"."};
    }
    merges.push_back(Json::array({line.substr(0, space), line.substr(space + 1)}));
  }
  return merges;
}

// Byte-level BPE as GPT-2 keeps it. How words are cut is not in these files: the class says it.
Result<Json> read_byte_level_files(const std::filesystem::path& folder, const Json& model_config,
                                   TokenizerFiles& out) {
  ASSIGN_OR_RETURN(const Json vocab, read_json_file(folder / "vocab.json"));
  ASSIGN_OR_RETURN(const Json merges, read_merges_file(folder / "merges.txt"));
  std::string name = tokenizer_class(out.config);
  const std::string type = text_at(model_config, "model_type");
  if (name.empty() || name == "PreTrainedTokenizer" || name == "TokenizersBackend") {
    name = type.starts_with("qwen") ? "Qwen2Tokenizer" : "";
  }
  const bool qwen = name == "Qwen2Tokenizer" || name == "Qwen3Tokenizer";
  if (!qwen && name != "GPT2Tokenizer") {
    out.notices.push_back(
        "vocab.json and merges.txt do not say how words are cut, nor does tokenizer_config.json "
        "(tokenizer_class: " +
        (name.empty() ? "none" : printable(name)) +
        "): they are cut as GPT-2's, which may not be this model's way; " +
        how_to_make_tokenizer_json(folder));
  }
  Json tokenizer = {{"added_tokens", Json::array()},
                    {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
                    {"pre_tokenizer", {{"type", "ByteLevel"}, {"use_regex", true}}}};
  const auto prefix = out.config.find("add_prefix_space");
  const bool prepends = prefix != out.config.end() && *prefix == true;
  tokenizer["pre_tokenizer"]["add_prefix_space"] = prepends;
  if (qwen) {
    tokenizer["normalizer"] = {{"type", "NFC"}};
    tokenizer["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", kQwenSplit}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"add_prefix_space", prepends}, {"use_regex", false}}}}};
  }
  constexpr const char* kEnd = "<|endoftext|>";  // the classes' own where nothing is said
  if (vocab.contains(kEnd)) {
    for (const char* key : {"eos_token", "unk_token"}) {
      out.config[key] = out.config.value(key, Json(kEnd));
    }
    if (!qwen) {
      out.config["bos_token"] = out.config.value("bos_token", Json(kEnd));
    }
  }
  return tokenizer;
}

// Tokens that the files beside the vocabulary add, with the ids that they give them.
Result<void> add_tokens(const Json& more, TokenizerFiles& out) {
  std::set<std::string> special;
  const auto name_special = [&](const Json& value) {
    if (std::string text = text_of(value); !text.empty()) {
      special.insert(std::move(text));
    }
  };
  for (const char* key : kSpecialTokens) {
    name_special(out.config.value(key, Json()));
  }
  for (const char* key : kMoreSpecialTokens) {
    for (const Json& value : out.config.value(key, Json::array())) {
      name_special(value);
    }
  }
  const Json& vocab = out.tokenizer["model"]["vocab"];  // stays where it is when others are added
  Json& added = out.tokenizer["added_tokens"];
  added = added.is_array() ? std::move(added) : Json::array();
  std::set<std::string> known;
  for (const Json& token : added) {
    known.insert(text_at(token, "content"));
  }
  const auto add = [&](const Json& id, const std::string& text, bool is_special) {
    if (!text.empty() && known.insert(text).second) {
      const auto own = vocab.find(text);  // a token of the vocabulary keeps its id
      added.push_back(added_token(own != vocab.end() ? *own : id, text, is_special));
    }
  };
  const auto decoder = out.config.find("added_tokens_decoder");
  if (decoder != out.config.end() && decoder->is_object()) {
    for (const auto& [id, token] : decoder->items()) {
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) {
        return Error{"tokenizer_config.json: key added_tokens_decoder: expected ids, found " +
                     printable(id) + "."};
      }
      add(std::stoul(id), text_of(token),
          token.is_object() && token.value("special", Json(false)) == true);
    }
  }
  for (const auto& [text, id] : more.items()) {
    add(id, text, special.contains(text));
  }
  // Ordinary pieces that are named special ("<|endoftext|>" in GPT-2's vocab.json).
  for (const std::string& text : special) {
    if (const auto found = vocab.find(text); found != vocab.end()) {
      add(*found, text, true);
    }
  }
  return {};
}

}  // namespace

Result<Json> read_json_if_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) || std::filesystem::is_symlink(path, ignored)
             ? read_json_file(path)
             : Result<Json>(Json::object());
}

Result<TokenizerFiles> read_tokenizer_files(const std::filesystem::path& folder,
                                            const Json& model_config) {
  std::error_code ignored;
  const auto has = [&](const char* name) {
    return std::filesystem::exists(folder / name, ignored) ||
           std::filesystem::is_symlink(folder / name, ignored);
  };
  TokenizerFiles out;
  ASSIGN_OR_RETURN(out.config, read_json_if_there(folder / "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json map, read_json_if_there(folder / "special_tokens_map.json"));
  ASSIGN_OR_RETURN(const Json added, read_json_if_there(folder / "added_tokens.json"));
  // As transformers: the map counts where tokenizer_config.json is of the older kind, without ids of added tokens.
  const bool newer = out.config.contains("added_tokens_decoder");
  for (const auto& [key, value] : map.items()) {
    if (!value.is_null() && (!newer || !out.config.contains(key))) {
      out.config[key] = value;
    }
  }
  if (has("tokenizer.json")) {
    out.file = "tokenizer.json";
    ASSIGN_OR_RETURN(out.tokenizer, read_json_file(folder / out.file));
    if (!out.tokenizer.value("model", Json()).is_object()) {
      return Error{"tokenizer.json: expected a BPE model, found none."};
    }
  } else if (has("tokenizer.model")) {
    out.file = "tokenizer.model";
    RETURN_IF_ERROR(read_sentencepiece(folder / out.file, out));
  } else if (has("vocab.json") && has("merges.txt")) {
    out.file = "vocab.json";
    ASSIGN_OR_RETURN(out.tokenizer, read_byte_level_files(folder, model_config, out));
  } else {
    for (const char* other : {"vocab.json", "merges.txt", "vocab.txt", "spiece.model",
                              "sentencepiece.bpe.model", "tekken.json", "qwen.tiktoken"}) {
      if (has(other)) {
        return Error{(folder / other).string() +
                     ": expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt, "
                     "found this file alone; " +
                     how_to_make_tokenizer_json(folder)};
      }
    }
    return missing_file(folder / "tokenizer.json");
  }
  RETURN_IF_ERROR(add_tokens(newer ? Json::object() : added, out));
  return out;
}

}  // namespace tern
