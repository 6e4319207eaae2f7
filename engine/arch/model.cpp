#include "engine/arch/model.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/arch/text_loss.h"
#include "engine/base/memory.h"

namespace tern {
namespace {

// Spelling of a token, or nothing where there is no such token.
std::string_view spelling_of(const Tokenizer& tokenizer, TokenId id) {
  return id < 0 ? std::string_view() : tokenizer.spelling(id);
}

constexpr int64_t kNoId = 0xFFFFFFFF;  // -1 in files that keep ids as uint32

// Ids by which a file ends a text, beside its EOS: llama.cpp's keys for the ends of a turn and of a message, lists that
// other programs write (Ollama's eos_token_ids), and what was said in the files of a folder.
std::vector<int64_t> declared_ends(const TensorFile& file) {
  std::vector<int64_t> out;
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id",
                          "tokenizer.ggml.eog_token_id"}) {
    if (const auto id = file.get_int(key); id && *id) {
      out.push_back(**id);
    }
  }
  for (const char* key :
       {"tern.stop_token_ids", "tokenizer.ggml.eos_token_ids", "tokenizer.ggml.eog_token_ids"}) {
    if (const auto ids = file.get_array<int64_t>(key); ids && *ids != nullptr) {
      constexpr ptrdiff_t kMost = 1024;  // models have a handful
      out.insert(out.end(), (*ids)->begin(), (*ids)->begin() + std::min(std::ssize(**ids), kMost));
    }
  }
  return out;
}

// The chat templates of a file that have a name, as a list for people.
std::string named_templates(const TensorFile& file) {
  constexpr std::string_view kPrefix = "tokenizer.chat_template.";
  constexpr size_t kLongest = 400;
  std::string names;
  for (auto key = file.metadata().lower_bound(kPrefix);
       key != file.metadata().end() && key->first.starts_with(kPrefix) && names.size() < kLongest;
       ++key) {
    names += (names.empty() ? "" : ", ") + printable(key->first.substr(kPrefix.size()));
  }
  return names;
}

// Models whose vector is the last token's output were trained with an end token there, and say something else without it.
Result<void> note_missing_end(const TensorFile& file, const ModelConfig& config,
                              std::vector<std::string>& notices) {
  constexpr int64_t kLast = 3;  // as the GGUF specification numbers it
  ASSIGN_OR_RETURN(const std::optional<int64_t> pooling,
                   file.get_int(config.architecture + ".pooling_type"));
  ASSIGN_OR_RETURN(const std::optional<bool> adds, file.get_bool("tokenizer.ggml.add_eos_token"));
  if (pooling == kLast && !adds.value_or(false)) {
    notices.emplace_back(
        "vectors are taken from the last token (pooling_type 3), but the file puts no end token "
        "behind a text (tokenizer.ggml.add_eos_token): if the model was trained with one, as most "
        "of its kind, its vectors are wrong. Get a newer file of it, or end each text with the "
        "token");
  }
  return {};
}

bool has_i2s(const TensorFile& file) {
  return std::ranges::any_of(
      file.tensors(), [](const Tensor& tensor) { return tensor.format->name.starts_with("I2_S"); });
}

std::string two_digits(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f", value);
  return text.data();
}

}  // namespace

Result<std::shared_ptr<const Model>> Model::load(const std::filesystem::path& path,
                                                 const LoadOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<Model> model, load_as(path, options));
  if (!options.i2s_layout && !model->config().embeds && has_i2s(model->file())) {
    const double loss = text_loss(*model, options.compute.threads);
    if (!knows_text(*model, loss)) {
      model.reset();  // memory for one model at a time is enough
      ASSIGN_OR_RETURN(model, load_other_layouts(path, options, loss));
    }
  }
  return std::shared_ptr<const Model>(std::move(model));
}

// What the published layout does not explain, another may. If none does, the weights are random, or the text is not in their
// language: then the published layout is as good as any.
Result<std::shared_ptr<Model>> Model::load_other_layouts(const std::filesystem::path& path,
                                                         LoadOptions options, double loss_of_128) {
  constexpr std::pair<I2sLayout, const char*> kOthers[] = {{I2sLayout::kArm64, "arm64"},
                                                           {I2sLayout::k1x4, "1x4"}};
  for (const auto& [layout, name] : kOthers) {
    options.i2s_layout = layout;
    Result<std::shared_ptr<Model>> other = load_as(path, options);
    if (!other) {
      continue;  // a shape that this layout cannot have
    }
    const double loss = text_loss(**other, options.compute.threads);
    if (knows_text(**other, loss)) {
      (*other)->notices_.push_back("I2_S weights read in the layout " + std::string(name) +
                                   ": a short text costs " + two_digits(loss) +
                                   " nats a token so, and " + two_digits(loss_of_128) +
                                   " in the layout of published files; --i2s-layout forces one");
      return other;
    }
  }
  options.i2s_layout = I2sLayout::k128;
  ASSIGN_OR_RETURN(std::shared_ptr<Model> model, load_as(path, options));
  model->notices_.push_back(
      "I2_S weights read in the layout of published files, 128, although a short English text "
      "costs " +
      two_digits(loss_of_128) +
      " nats a token so; the other layouts explain it no better (--i2s-layout forces one)");
  return model;
}

Result<std::shared_ptr<Model>> Model::load_as(const std::filesystem::path& path,
                                              const LoadOptions& options) {
  ASSIGN_OR_RETURN(
      TensorFile file,
      TensorFile::open(path, OpenOptions{options.i2s_layout.value_or(I2sLayout::k128)}));
  std::shared_ptr<Model> model(new Model(std::move(file)));
  if (const Result<void> read = model->read(options); !read) {
    return read.error().in(path.string());
  }
  return model;
}

Result<void> Model::read(const LoadOptions& options) {
  kernels_ = options.compute.kernels;
  notices_.assign(file_.notices().begin(), file_.notices().end());
  ASSIGN_OR_RETURN(config_, read_config(file_, notices_));
  config_.activations = options.activations.value_or(config_.activations);
  // What is cheap to check comes before the packing of gigabytes.
  RETURN_IF_ERROR(check_memory(options));
  RETURN_IF_ERROR(read_text_side(options));
  ASSIGN_OR_RETURN(adapters_, LoraSet::open(options.lora, file_, config_, *kernels_));
  weights_ = std::make_unique<Weights>(file_, *kernels_, options.compute.threads, options.progress,
                                       options.packing);
  weights_->use(adapters_);
  ASSIGN_OR_RETURN(decoder_, bind_decoder(config_, *weights_, options.head));
  std::ranges::move(weights_->notices(), std::back_inserter(notices_));
  return {};
}

// What is left in the file needs no memory that cannot be taken back.
Result<void> Model::check_memory(const LoadOptions& options) const {
  ASSIGN_OR_RETURN(const ModelPlan plan,
                   ModelPlan::create(file_, config_, *kernels_, options.packing, options.head));
  const WeightMemory memory = plan.shape().memory;
  const uint64_t needed = memory.computed - file_.converted_bytes();
  uint64_t available = available_memory();
  if (const std::optional<uint64_t> space = available_address_space()) {
    available = std::min(available, *space - std::min(*space, memory.experts));
  } else if (available == 0) {
    return {};  // unknown
  }
  if (needed <= available) {
    return {};
  }
  return Error{"the weights take " + human_bytes(needed) +
               " of memory when they are loaded, found " + human_bytes(available) +
               " available. Close other programs, use a smaller model, or convert this one with "
               "`tern convert IN OUT --type tern`, whose weights stay in the file."};
}

ModelShape Model::shape() const {
  WeightMemory memory = weights_->memory();
  memory.computed += adapters_.bytes();
  return {config_, decoder_, *kernels_, memory};
}

Result<void> Model::read_text_side(const LoadOptions& options) {
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::from_file(file_));
  if (tokenizer_->size() > config_.vocab) {
    return Error{"key tokenizer.ggml.tokens: expected at most " + std::to_string(config_.vocab) +
                 " tokens (the rows of token_embd.weight), found " +
                 std::to_string(tokenizer_->size()) + "."};
  }
  ASSIGN_OR_RETURN(std::optional<std::string_view> source,
                   file_.get_string("tokenizer.chat_template"));
  // Files may have more than one; --chat-template may name one of them.
  ASSIGN_OR_RETURN(const std::optional<std::string_view> named,
                   file_.get_string("tokenizer.chat_template." + options.chat_template));
  if (const std::string names = named_templates(file_); !named && !names.empty()) {
    notices_.push_back("the file has further chat templates, which are not in use: " + names +
                       " (--chat-template NAME takes one of them)");
  }
  source = named ? named : source;
  const TemplateContext context{config_.architecture, config_.name, source.value_or(""),
                                spelling_of(*tokenizer_, tokenizer_->bos()),
                                spelling_of(*tokenizer_, tokenizer_->eos())};
  ASSIGN_OR_RETURN(chat_template_, options.chat_template.empty() || named
                                       ? ChatTemplate::choose(context)
                                       : ChatTemplate::named(options.chat_template, context));
  for (const std::vector<std::string>& more : {tokenizer_->notices(), chat_template_->notices()}) {
    notices_.insert(notices_.end(), more.begin(), more.end());
  }
  find_stop_tokens();
  return note_missing_end(file_, config_, notices_);
}

void Model::find_stop_tokens() {
  const auto add = [&](TokenId id) {
    if (id >= 0 && std::find(stop_tokens_.begin(), stop_tokens_.end(), id) == stop_tokens_.end()) {
      stop_tokens_.push_back(id);
    }
  };
  add(tokenizer_->eos());
  for (const int64_t id : declared_ends(file_)) {
    if (id >= 0 && id < tokenizer_->size()) {
      add(static_cast<TokenId>(id));
    } else if (id != -1 && id != kNoId) {
      notices_.push_back("the file names " + std::to_string(id) +
                         " as an end token, which is the id of no token: it ends nothing");
    }
  }
  for (const std::string& spelling : chat_template_->stop_tokens()) {
    add(tokenizer_->find(spelling));
  }
  // Files often name only the token that ends a document as their EOS; a control token of one of these names ends a turn
  // in every model that has it.
  for (const std::string_view spelling :
       {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
        "<|eom_id|>", "<|eot|>"}) {
    const TokenId id = tokenizer_->find(spelling);
    if (id >= 0 && tokenizer_->is_control(id)) {
      add(id);
    }
  }
  // The published 2B-4T files.
  const bool ends_turns = tokenizer_->find("<|eot_id|>") >= 0;
  if (config_.architecture.starts_with("bitnet") && ends_turns &&
      spelling_of(*tokenizer_, tokenizer_->eos()) == "<|end_of_text|>") {
    notices_.push_back(
        "the file names <|end_of_text|> as its end token, but turns of this model end with "
        "<|eot_id|>; both stop it");
  }
}

size_t Model::bytes_per_token() const {
  size_t bytes = decoder_.head.bytes();
  for (const LayerWeights& layer : decoder_.layers) {
    layer.for_each_linear([&](const Linear& w) { bytes += w.bytes(); });
    if (layer.experts) {
      const ExpertWeights& w = *layer.experts;
      bytes += static_cast<size_t>(config_.experts.used) *
               (w.gate->bytes() + w.up->bytes() + w.down->bytes());
    }
  }
  return bytes;
}

}  // namespace tern
