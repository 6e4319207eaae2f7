// The tokenizer files of a Hugging Face folder as the keys of a GGUF file.

#include <algorithm>
#include <set>
#include <unordered_map>

#include "engine/io/hf_tokenizer_files.h"
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
  explicit Vocabulary(std::string file) : file_(std::move(file)) {}
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

  std::string file_;    // for errors
  uint64_t limit_ = 0;  // of ids
  std::vector<std::string> tokens_;
  std::vector<int64_t> types_;
  std::unordered_map<std::string, int64_t> ids_;
  std::vector<int64_t> strips_left_, strips_right_, single_words_;
};

Result<void> Vocabulary::put(const std::string& text, const Json& id, int64_t type) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit_) {
    return Error{file_ + ": token " + printable(text) + ": expected an id below " +
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
    return Error{file_ + ": expected a BPE model with a vocabulary, found none."};
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
std::vector<double> scores_of(const std::vector<std::string>& merges,
                              const Vocabulary& vocabulary) {
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
  return scores;
}

void translate_sentencepiece(const Json& tokenizer, std::vector<double> scores,
                             HuggingFaceReader& out) {
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
  bool more = false;  // further ones, which nothing here adds
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
  Ends ends{special(single->front()), single->size() > 1 ? special(single->back()) : std::string()};
  const size_t known = 1U + (ends.before.empty() ? 0U : 1U) + (ends.behind.empty() ? 0U : 1U);
  ends.more = single->size() > known;
  return ends;
}

// The ids that end a text, from every place that declares some: what one of them leaves out, another may know.
// (transformers reads generation_config.json, or config.json if there is none; llama.cpp's converter config.json.)
class Stops {
 public:
  Stops(const Vocabulary& vocabulary, HuggingFaceReader& out)
      : vocabulary_(vocabulary), out_(out) {}

  // One id or a list of them.
  void add_ids(const Json* value, const char* where) {
    if (value == nullptr) {
      return;
    }
    const Json list = value->is_array() ? *value : Json::array({*value});
    for (size_t i = 0; i < std::min(list.size(), kMost); ++i) {
      const Json& id = list[i];
      if (id.is_number_unsigned() && id.get<uint64_t>() < vocabulary_.size()) {
        add(id.get<int64_t>());
      } else {
        out_.add_notice(std::string(where) + ": key eos_token_id: " + printable(id.dump()) +
                        " is the id of no token: it ends nothing");
      }
    }
  }
  void add(int64_t id) {
    if (id >= 0 && std::ranges::find(ids_, id) == ids_.end()) {
      ids_.push_back(id);
    }
  }
  // Texts that end an answer: those that are a token each.
  void add_texts(const Json* texts) {
    const Json list = texts == nullptr    ? Json::array()
                      : texts->is_array() ? *texts
                                          : Json::array({*texts});
    for (size_t i = 0; i < std::min(list.size(), kMost); ++i) {
      const Json& text = list[i];
      const int64_t id = text.is_string() ? vocabulary_.id_of(text.get<std::string>()) : -1;
      add(id);
      if (id < 0) {
        out_.add_notice("generation_config.json: key stop_strings: " + printable(text_of(text)) +
                        " is no token: it ends nothing (--stop does it)");
      }
    }
  }
  const std::vector<int64_t>& ids() const { return ids_; }

 private:
  static constexpr size_t kMost = 1024;  // in one place; models have a handful

  static std::string text_of(const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  }

  const Vocabulary& vocabulary_;
  HuggingFaceReader& out_;
  std::vector<int64_t> ids_;
};

void translate_stops(const Json& config, const Json& generation, const Json& model_config,
                     const Vocabulary& vocabulary, HuggingFaceReader& out) {
  Stops stops(vocabulary, out);
  stops.add_ids(find(generation, "eos_token_id"), "generation_config.json");
  stops.add_ids(find(model_config, "eos_token_id"), "config.json");
  if (const Json* of_text = find(model_config, "text_config")) {
    stops.add_ids(find(*of_text, "eos_token_id"), "config.json: text_config");
  }
  for (const char* key : {"eos_token", "eot_token", "eom_token"}) {
    stops.add(vocabulary.id_of(token_text(config, key)));
  }
  stops.add_texts(find(generation, "stop_strings"));
  out.set("tern.stop_token_ids", MetaArray(stops.ids()));
  // The two other keys by which GGUF files name ends, so that other programs stop there too.
  const auto eos = out.value("tokenizer.ggml.eos_token_id");
  std::vector<int64_t> others = stops.ids();
  if (!eos && !others.empty()) {
    out.set("tokenizer.ggml.eos_token_id", others.front());
    others.erase(others.begin());
  }
  std::erase_if(others, [&](int64_t id) { return eos == id; });
  for (size_t i = 0; i < others.size() && i < 2; ++i) {
    out.set(i == 0 ? "tokenizer.ggml.eot_token_id" : "tokenizer.ggml.eom_token_id", others[i]);
  }
}

// Which tokens begin and end a text, and whether encoding adds them.
void translate_ends(const Json& tokenizer, const Json& config, const Vocabulary& vocabulary,
                    HuggingFaceReader& out) {
  const auto set_id = [&](const char* key, int64_t id) {
    if (id >= 0) {
      out.set(key, id);
    }
  };
  for (const auto& [name, key] : {std::pair("bos_token", "tokenizer.ggml.bos_token_id"),
                                  std::pair("eos_token", "tokenizer.ggml.eos_token_id"),
                                  std::pair("unk_token", "tokenizer.ggml.unknown_token_id"),
                                  std::pair("pad_token", "tokenizer.ggml.padding_token_id")}) {
    const std::string text = token_text(config, name);
    set_id(key, vocabulary.id_of(text));
    if (!text.empty() && vocabulary.id_of(text) < 0) {
      out.add_notice("tokenizer_config.json: key " + std::string(name) + ": " + printable(text) +
                     " is not in the vocabulary: it is not in use");
    }
  }
  const Ends added = ends_of(tokenizer);
  const auto says = [&](const char* key, bool otherwise) {
    const Json* value = find(config, key);
    return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
  };
  out.set("tokenizer.ggml.add_bos_token", says("add_bos_token", !added.before.empty()));
  out.set("tokenizer.ggml.add_eos_token", says("add_eos_token", !added.behind.empty()));
  // A post-processor may begin a text with another token than bos_token names, and embedding models may end it with
  // another than a chat.
  set_id("tokenizer.ggml.bos_token_id", vocabulary.id_of(added.before));
  set_id("tokenizer.ggml.eos_token_id", vocabulary.id_of(added.behind));
  if (added.more) {
    out.add_notice(
        "tokenizer.json: key post_processor: of the tokens that it puts around a text only the "
        "first and the last are added");
  }
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

Result<void> translate_tokenizer(const std::filesystem::path& folder, const Json& model_config,
                                 HuggingFaceReader& out) {
  ASSIGN_OR_RETURN(TokenizerFiles files, read_tokenizer_files(folder, model_config));
  ASSIGN_OR_RETURN(const Json generation, read_json_if_there(folder / "generation_config.json"));
  const Json& tokenizer = files.tokenizer;
  for (std::string& notice : files.notices) {
    out.add_notice(std::move(notice));
  }
  const Json* model = find(tokenizer, "model");
  if (model == nullptr || (text_at(*model, "type") != "BPE" && find(*model, "merges") == nullptr)) {
    return Error{files.file + ": expected a BPE model, found " +
                 printable(model == nullptr ? "none" : text_at(*model, "type")) + "."};
  }
  RETURN_IF_ERROR(check_steps(tokenizer));
  Vocabulary vocabulary(files.file);
  RETURN_IF_ERROR(vocabulary.read(tokenizer));
  ASSIGN_OR_RETURN(const std::vector<std::string> merges, read_merges(*model));
  if (part_of(find(tokenizer, "pre_tokenizer"), "pretokenizers", "ByteLevel") != nullptr) {
    RETURN_IF_ERROR(translate_byte_level(tokenizer, merges, out));
  } else {
    std::vector<double> scores =
        files.scores.empty() ? scores_of(merges, vocabulary) : std::move(files.scores);
    scores.resize(vocabulary.size());  // tokens that were added later have none
    translate_sentencepiece(tokenizer, std::move(scores), out);
  }
  vocabulary.write(out);
  translate_ends(tokenizer, files.config, vocabulary, out);
  translate_stops(files.config, generation, model_config, vocabulary, out);
  return translate_chat_templates(folder, files.config, out);
}

}  // namespace tern
