// The tokenizer files of a Hugging Face folder as the keys of a GGUF file.

#include <algorithm>
#include <unordered_map>

#include "engine/base/file.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// tokenizer.ggml.token_type.
enum Type : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// How many ids of a vocabulary may have no token. (Published ones lack some hundreds, if any.)
constexpr uint64_t kMostGaps = 1U << 16U;

const Json* find(const Json& object, const char* key) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_at(const Json& object, const char* key) {
  const Json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// "<s>" or {"content": "<s>", ...}.
std::string token_text(const Json& config, const char* key) {
  const Json* value = find(config, key);
  return value == nullptr     ? std::string()
         : value->is_object() ? text_at(*value, "content")
                              : text_at(config, key);
}

// A part of the given type in a step that may be a Sequence of them (under `list`).
const Json* part_of(const Json* step, const char* list, std::string_view type) {
  if (step == nullptr) {
    return nullptr;
  }
  if (text_at(*step, "type") == type) {
    return step;
  }
  const Json* parts = find(*step, list);
  for (size_t i = 0; parts != nullptr && parts->is_array() && i < parts->size(); ++i) {
    if (const Json* found = part_of(&(*parts)[i], list, type)) {
      return found;
    }
  }
  return nullptr;
}

// All expressions of the Split steps in a step, in order, a line each.
std::string split_expressions(const Json* step) {
  if (step == nullptr) {
    return {};
  }
  if (text_at(*step, "type") == "Split") {
    const Json* pattern = find(*step, "pattern");
    return pattern == nullptr ? std::string() : text_at(*pattern, "Regex");
  }
  std::string all;
  const Json* parts = find(*step, "pretokenizers");
  for (size_t i = 0; parts != nullptr && parts->is_array() && i < parts->size(); ++i) {
    const std::string one = split_expressions(&(*parts)[i]);
    all += (all.empty() || one.empty() ? "" : "\n") + one;
  }
  return all;
}

// The expressions that published tokenizers cut words with, and the name that GGUF files give them.
struct Pattern {
  std::string_view regex;
  std::string_view pre;
  bool nfc = false;  // whether models with these words fold to it, as the name implies
};
constexpr Pattern kPatterns[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "llama-bpe"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2", true},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen35", true},
    {R"(\p{N}{1,3})"
     "\n[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+\n"
     R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "hunyuan-dense"}};

class Vocabulary {
 public:
  Result<void> read(const Json& tokenizer);
  void write(HuggingFaceReader& out) const;
  // -1 if there is no such token.
  int64_t id_of(const std::string& text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }
  size_t size() const { return tokens_.size(); }

 private:
  Result<void> put(const std::string& text, const Json& id, int64_t type);

  uint64_t limit_ = 0;  // of ids
  std::vector<std::string> tokens_;
  std::vector<int64_t> types_;
  std::unordered_map<std::string, int64_t> ids_;
  std::vector<int64_t> strips_left_, strips_right_, single_words_;
};

Result<void> Vocabulary::put(const std::string& text, const Json& id, int64_t type) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit_) {
    return Error{"tokenizer.json: token " + printable(text) + ": expected an id below " +
                 std::to_string(limit_) + ", found " + printable(id.dump()) + "."};
  }
  const auto index = id.get<size_t>();
  while (tokens_.size() <= index) {
    tokens_.push_back("[UNUSED" + std::to_string(tokens_.size()) + "]");
    types_.push_back(kUnused);
  }
  tokens_[index] = text;
  types_[index] = type;
  ids_[text] = static_cast<int64_t>(index);
  return {};
}

Result<void> Vocabulary::read(const Json& tokenizer) {
  const Json* model = find(tokenizer, "model");
  const Json* vocab = model == nullptr ? nullptr : find(*model, "vocab");
  if (vocab == nullptr || !vocab->is_object() || vocab->empty()) {
    return Error{"tokenizer.json: expected a BPE model with a vocabulary, found none."};
  }
  const Json* added = find(tokenizer, "added_tokens");
  limit_ = kMostGaps + vocab->size() + (added == nullptr ? 0 : added->size());
  const Json* fallback = find(*model, "byte_fallback");
  const bool bytes = fallback != nullptr && fallback->is_boolean() && fallback->get<bool>();
  for (const auto& [text, id] : vocab->items()) {
    const bool byte = bytes && text.size() == 6 && text.starts_with("<0x") && text.back() == '>';
    RETURN_IF_ERROR(put(text, id, byte ? kByte : kNormal));
  }
  for (size_t i = 0; added != nullptr && added->is_array() && i < added->size(); ++i) {
    const Json& token = (*added)[i];
    const Json* id = find(token, "id");
    const Json* special = find(token, "special");
    const auto says = [&](const char* key) {
      const Json* value = find(token, key);
      return value != nullptr && value->is_boolean() && value->get<bool>();
    };
    const bool control = special != nullptr && special->is_boolean() && special->get<bool>();
    RETURN_IF_ERROR(put(text_at(token, "content"), id == nullptr ? Json() : *id,
                        control ? kControl : kUserDefined));
    const std::pair<const char*, std::vector<int64_t>*> flags[] = {
        {"lstrip", &strips_left_}, {"rstrip", &strips_right_}, {"single_word", &single_words_}};
    for (const auto& [key, list] : flags) {
      if (says(key)) {
        list->push_back(id->get<int64_t>());
      }
    }
  }
  if (const int64_t unknown = id_of(text_at(*model, "unk_token")); unknown >= 0 && bytes) {
    types_[static_cast<size_t>(unknown)] = kUnknown;
  }
  return {};
}

void Vocabulary::write(HuggingFaceReader& out) const {
  std::vector<std::string_view> views;
  views.reserve(tokens_.size());
  for (const std::string& token : tokens_) {
    views.push_back(out.keep(token));
  }
  out.set("tokenizer.ggml.tokens", MetaArray(std::move(views)));
  out.set("tokenizer.ggml.token_type", MetaArray(types_));
  const std::pair<const char*, const std::vector<int64_t>*> flags[] = {
      {"tern.tokenizer.strips_left", &strips_left_},
      {"tern.tokenizer.strips_right", &strips_right_},
      {"tern.tokenizer.single_words", &single_words_}};
  for (const auto& [key, list] : flags) {
    if (!list->empty()) {
      out.set(key, MetaArray(*list));
    }
  }
}

// Merges as "left right", best first; files write them so, or as pairs.
Result<std::vector<std::string>> read_merges(const Json& model) {
  std::vector<std::string> merges;
  const Json* list = find(model, "merges");
  if (list == nullptr || !list->is_array()) {
    return Error{"tokenizer.json: expected a list of merges, found none."};
  }
  for (const Json& merge : *list) {
    if (merge.is_string() && merge.get<std::string>().find(' ') != std::string::npos) {
      merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      return Error{"tokenizer.json: expected merges of two texts, found " +
                   printable(merge.dump()) + "."};
    }
  }
  return merges;
}

// Byte-level BPE (GPT-2 and all after it).
Result<void> translate_byte_level(const Json& tokenizer, const std::vector<std::string>& merges,
                                  HuggingFaceReader& out) {
  const Json* steps = find(tokenizer, "pre_tokenizer");
  const Json* bytes = part_of(steps, "pretokenizers", "ByteLevel");
  std::string_view pre;
  const bool nfc = part_of(find(tokenizer, "normalizer"), "normalizers", "NFC") != nullptr;
  if (part_of(steps, "pretokenizers", "Split") != nullptr) {
    const std::string regex = split_expressions(steps);
    const auto known = std::ranges::find(kPatterns, regex, &Pattern::regex);
    if (known == std::end(kPatterns)) {
      return Error{"tokenizer.json: words are cut by an expression that Tern does not know: " +
                   printable(regex, 200) +
                   ". With a wrong one the model would read garbled words; use a GGUF file of it."};
    }
    pre = known->pre;
    // Llama 3's words without its rule that a word which is a token is not merged.
    const Json* whole = find(*find(tokenizer, "model"), "ignore_merges");
    if (pre == "llama-bpe" && whole != nullptr && *whole == false) {
      pre = "dbrx";
    }
    if (nfc != known->nfc) {
      out.set("tern.tokenizer.nfc", nfc);
    }
  } else if (part_of(steps, "pretokenizers", "Punctuation") != nullptr) {
    pre = "falcon";
  } else if (const Json* digits = part_of(steps, "pretokenizers", "Digits")) {
    const Json* single = find(*digits, "individual_digits");
    if (single == nullptr || *single != true) {
      return Error{"tokenizer.json: step Digits: expected individual_digits true, found another."};
    }
    pre = nfc ? "command-r" : "starcoder";
  } else {
    pre = nfc ? "mpt" : "gpt-2";
  }
  // Missing, it is true, as in `tokenizers`.
  const Json* prefix = bytes == nullptr ? nullptr : find(*bytes, "add_prefix_space");
  if (prefix == nullptr || *prefix == true) {
    out.set("tern.tokenizer.space_prefix", out.keep("unless-space"));
  }
  out.set("tokenizer.ggml.model", out.keep("gpt2"));
  out.set("tokenizer.ggml.pre", out.keep(std::string(pre)));
  std::vector<std::string_view> views;
  views.reserve(merges.size());
  for (const std::string& merge : merges) {
    views.push_back(out.keep(merge));
  }
  out.set("tokenizer.ggml.merges", MetaArray(std::move(views)));
  return {};
}

// Where a space is put that the text does not have, as tern.tokenizer.space_prefix says it.
std::string_view space_prefix(const Json& tokenizer) {
  if (part_of(find(tokenizer, "normalizer"), "normalizers", "Prepend") != nullptr) {
    return "everywhere";
  }
  const Json* spaces = part_of(find(tokenizer, "pre_tokenizer"), "pretokenizers", "Metaspace");
  if (spaces == nullptr) {
    return "never";
  }
  // Older files have a switch in place of the scheme. Missing, it is on.
  const std::string scheme = text_at(*spaces, "prepend_scheme");
  const Json* add = find(*spaces, "add_prefix_space");
  const bool on = add == nullptr || *add != false;
  return scheme == "first"                              ? "first"
         : scheme == "never" || (scheme.empty() && !on) ? "never"
                                                        : "unless-space";
}

// SentencePiece's BPE: pieces are merged by their scores, and a piece that an earlier merge makes has the better one.
void translate_sentencepiece(const Json& tokenizer, const std::vector<std::string>& merges,
                             const Vocabulary& vocabulary, HuggingFaceReader& out) {
  std::vector<double> scores(vocabulary.size(), 0.0);
  std::vector<bool> scored(vocabulary.size(), false);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    std::string piece = merges[rank];
    piece.erase(piece.find(' '), 1);
    const int64_t id = vocabulary.id_of(piece);
    if (id >= 0 && !scored[static_cast<size_t>(id)]) {
      scored[static_cast<size_t>(id)] = true;
      scores[static_cast<size_t>(id)] = -static_cast<double>(rank) - 1;
    }
  }
  out.set("tokenizer.ggml.model", out.keep("llama"));
  out.set("tokenizer.ggml.scores", MetaArray(std::move(scores)));
  const std::string_view prefix = space_prefix(tokenizer);
  out.set("tokenizer.ggml.add_space_prefix", prefix != "never");
  const Json* spaces = part_of(find(tokenizer, "pre_tokenizer"), "pretokenizers", "Metaspace");
  if (const Json* split = spaces == nullptr ? nullptr : find(*spaces, "split");
      spaces != nullptr && (split == nullptr || *split != false)) {
    out.set("tern.tokenizer.split_at_spaces", true);
  }
  if (prefix == "first" || prefix == "unless-space") {  // GGUF's own key knows the other two
    out.set("tern.tokenizer.space_prefix", out.keep(std::string(prefix)));
  }
}

// The tokens that the tokenizer's post-processor puts before and behind a text; empty where it puts none.
struct Ends {
  std::string before, behind;
};
Ends ends_of(const Json& tokenizer) {
  for (const char* type : {"BertProcessing", "RobertaProcessing"}) {  // ["</s>", 2] each
    const Json* both = part_of(find(tokenizer, "post_processor"), "processors", type);
    const Json* before = both == nullptr ? nullptr : find(*both, "cls");
    const Json* behind = both == nullptr ? nullptr : find(*both, "sep");
    if (before != nullptr && before->is_array() && !before->empty() &&
        before->front().is_string() && behind != nullptr && behind->is_array() &&
        !behind->empty() && behind->front().is_string()) {
      return {before->front(), behind->front()};
    }
  }
  const Json* processing =
      part_of(find(tokenizer, "post_processor"), "processors", "TemplateProcessing");
  const Json* single = processing == nullptr ? nullptr : find(*processing, "single");
  if (single == nullptr || !single->is_array() || single->empty()) {
    return {};
  }
  const auto special = [](const Json& part) {
    const Json* token = find(part, "SpecialToken");
    return token == nullptr ? std::string() : text_at(*token, "id");
  };
  return {special(single->front()), single->size() > 1 ? special(single->back()) : std::string()};
}

// Which tokens begin and end a text, and whether encoding adds them.
void translate_ends(const Json& tokenizer, const Json& config, const Json& generation,
                    const Vocabulary& vocabulary, HuggingFaceReader& out) {
  const auto set_id = [&](const char* key, int64_t id) {
    if (id >= 0) {
      out.set(key, id);
    }
  };
  set_id("tokenizer.ggml.bos_token_id", vocabulary.id_of(token_text(config, "bos_token")));
  set_id("tokenizer.ggml.eos_token_id", vocabulary.id_of(token_text(config, "eos_token")));
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.id_of(token_text(config, "unk_token")));
  const Ends added = ends_of(tokenizer);
  const auto says = [&](const char* key, bool otherwise) {
    const Json* value = find(config, key);
    return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
  };
  out.set("tokenizer.ggml.add_bos_token", says("add_bos_token", !added.before.empty()));
  out.set("tokenizer.ggml.add_eos_token", says("add_eos_token", !added.behind.empty()));
  // Embedding models may end a text with another token than a chat.
  set_id("tokenizer.ggml.eos_token_id", vocabulary.id_of(added.behind));
  // One id or a list of them.
  const Json* ends = find(generation, "eos_token_id");
  std::vector<int64_t> stops;
  for (const Json& id : ends == nullptr    ? Json::array()
                        : ends->is_array() ? *ends
                                           : Json::array({*ends})) {
    if (id.is_number_unsigned() && id.get<uint64_t>() < vocabulary.size()) {
      stops.push_back(id.get<int64_t>());
    }
  }
  out.set("tern.stop_token_ids", MetaArray(std::move(stops)));
}

// The template's text: a file of its own, a text, or a list of named ones of which "default" counts.
Result<std::string> chat_template(const std::filesystem::path& folder, const Json& config) {
  std::error_code ignored;
  if (std::filesystem::exists(folder / "chat_template.jinja", ignored)) {
    return read_text_file(folder / "chat_template.jinja", size_t{1} << 20);
  }
  const Json* value = find(config, "chat_template");
  for (size_t i = 0; value != nullptr && value->is_array() && i < value->size(); ++i) {
    if (text_at((*value)[i], "name") == "default") {
      return text_at((*value)[i], "template");
    }
  }
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// A JSON file that a model may lack.
Result<Json> read_if_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? read_json_file(path)
                                                : Result<Json>(Json::object());
}

}  // namespace

namespace {

// Every step in a step that may be a Sequence of them (under `list`).
void steps_in(const Json* step, const char* list, std::vector<const Json*>& out) {
  if (step == nullptr || !step->is_object()) {
    return;
  }
  if (const Json* parts = find(*step, list); parts != nullptr && parts->is_array()) {
    for (const Json& part : *parts) {
      steps_in(&part, list, out);
    }
  } else {
    out.push_back(step);
  }
}

// What a step is called in messages, if Tern does not do it; empty if it does.
std::string unknown_step(const Json& step, const std::vector<std::string_view>& known,
                         bool byte_level) {
  const std::string type = text_at(step, "type");
  if (std::ranges::find(known, type) == known.end() || (type == "NFC" && !byte_level) ||
      (type == "Prepend" && (byte_level || text_at(step, "prepend") != "\u2581"))) {
    return type;
  }
  if (type == "Replace") {  // SentencePiece's spaces, and nothing else
    const Json* pattern = find(step, "pattern");
    const bool spaces = pattern != nullptr && text_at(*pattern, "String") == " " &&
                        text_at(step, "content") == "\u2581";
    return spaces && !byte_level ? std::string() : "Replace of something else than spaces";
  }
  return {};
}

// A step that is left out makes other tokens, in silence: what Tern does not do is refused.
Result<void> check_steps(const Json& tokenizer) {
  const bool byte_level =
      part_of(find(tokenizer, "pre_tokenizer"), "pretokenizers", "ByteLevel") != nullptr;
  const std::pair<const char*, std::pair<const char*, std::vector<std::string_view>>> kinds[] = {
      {"normalizer", {"normalizers", {"Replace", "Prepend", "NFC"}}},
      {"pre_tokenizer",
       {"pretokenizers", {"ByteLevel", "Split", "Digits", "Punctuation", "Metaspace"}}}};
  for (const auto& [key, known] : kinds) {
    std::vector<const Json*> steps;
    steps_in(find(tokenizer, key), known.first, steps);
    for (const Json* step : steps) {
      const std::string type = unknown_step(*step, known.second, byte_level);
      if (!type.empty()) {
        std::string names;
        for (const std::string_view name : known.second) {
          names += (names.empty() ? "" : ", ") + std::string(name);
        }
        return Error{"tokenizer.json: " + std::string(key) + ": expected steps of " + names +
                     ", found " + printable(type) +
                     ". Without it the model would read other tokens; use a GGUF file of it."};
      }
    }
  }
  const Json* processing =
      part_of(find(tokenizer, "post_processor"), "processors", "TemplateProcessing");
  const Json* single = processing == nullptr ? nullptr : find(*processing, "single");
  size_t behind = 0;  // tokens in a row
  for (size_t i = 0; single != nullptr && single->is_array() && i < single->size(); ++i) {
    behind = find((*single)[i], "SpecialToken") != nullptr ? behind + 1 : 0;
    if (behind > 1) {
      return Error{
          "tokenizer.json: post_processor: expected at most one token before a text and one behind "
          "it, found more. Tern has no place for them yet; use a GGUF file of it."};
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const std::string text = text_at(*find(tokenizer, "model"), key); !text.empty()) {
      return Error{"tokenizer.json: model." + std::string(key) + ": expected none, found " +
                   printable(text) + "."};
    }
  }
  return {};
}

}  // namespace

Result<void> translate_tokenizer(const std::filesystem::path& folder, HuggingFaceReader& out) {
  ASSIGN_OR_RETURN(const Json tokenizer, read_json_file(folder / "tokenizer.json"));
  ASSIGN_OR_RETURN(const Json config, read_if_there(folder / "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json generation, read_if_there(folder / "generation_config.json"));
  const Json* model = find(tokenizer, "model");
  if (model == nullptr || (text_at(*model, "type") != "BPE" && find(*model, "merges") == nullptr)) {
    return Error{"tokenizer.json: expected a BPE model, found " +
                 printable(model == nullptr ? "none" : text_at(*model, "type")) + "."};
  }
  RETURN_IF_ERROR(check_steps(tokenizer));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(vocabulary.read(tokenizer));
  ASSIGN_OR_RETURN(const std::vector<std::string> merges, read_merges(*model));
  if (part_of(find(tokenizer, "pre_tokenizer"), "pretokenizers", "ByteLevel") != nullptr) {
    RETURN_IF_ERROR(translate_byte_level(tokenizer, merges, out));
  } else {
    translate_sentencepiece(tokenizer, merges, vocabulary, out);
  }
  vocabulary.write(out);
  translate_ends(tokenizer, config, generation, vocabulary, out);
  ASSIGN_OR_RETURN(std::string chat, chat_template(folder, config));
  if (!chat.empty()) {
    out.set("tokenizer.chat_template", out.keep(std::move(chat)));
  }
  return {};
}

}  // namespace tern
