// Any bytes as one of the files of a Hugging Face folder whose others are good: refused with a message, or read in full. The first byte
// chooses the file; from 64 on, config.json says that OneCompression compressed the weights, from 128 on that MLX did.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tests/fuzz/read_model_file.h"

namespace tern {
namespace {

enum File : size_t {
  kSafetensors,
  kConfig,
  kTokenizer,
  kIndex,
  kTokenizerConfig,
  kGeneration,
  kSentencePiece,
  kVocab,
  kMerges,
  kAddedTokens,
  kSpecialTokens,
  kChatJson,
  kChatJinja,
  kPooling,
  kFiles
};
constexpr std::array<const char*, kFiles> kNames = {"model.safetensors",
                                                    "config.json",
                                                    "tokenizer.json",
                                                    "model.safetensors.index.json",
                                                    "tokenizer_config.json",
                                                    "generation_config.json",
                                                    "tokenizer.model",
                                                    "vocab.json",
                                                    "merges.txt",
                                                    "added_tokens.json",
                                                    "special_tokens_map.json",
                                                    "chat_template.json",
                                                    "chat_template.jinja",
                                                    "1_Pooling/config.json"};

// A packed layer (four rows in a byte), its scale, an embedding.
std::string good_safetensors() {
  constexpr std::string_view kHeader =
      R"({"model.embed_tokens.weight":{"dtype":"F16","shape":[2,4],"data_offsets":[0,16]},)"
      R"("model.layers.0.mlp.up_proj.weight":{"dtype":"U8","shape":[1,8],"data_offsets":[16,24]},)"
      R"("model.layers.0.mlp.up_proj.weight_scale":{"dtype":"F32","shape":[1],"data_offsets":[24,28]}})";
  const uint64_t length = kHeader.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + std::string(kHeader) + std::string(28, '\0');
}

constexpr uint8_t kCompressed = 64;
constexpr uint8_t kMlx = 128;

std::string good_config(uint8_t mode) {
  if (mode >= kMlx) {
    return R"({"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":1,)"
           R"("quantization":{"group_size":32,"bits":2,"model.embed_tokens":)"
           R"({"group_size":32,"bits":4}}})";
  }
  if (mode >= kCompressed) {
    return R"({"architectures":["LlamaForCausalLM"],"hidden_size":32,"num_hidden_layers":1,)"
           R"("quantization_config":{"quant_method":"mixed_gptq"}})";
  }
  return R"({"architectures":["BitNetForCausalLM"],"hidden_size":4,"num_hidden_layers":1,)"
         R"("quantization_config":{"quant_method":"bitnet"}})";
}

// What the other files hold while `chosen` is tried; empty: the file is not there. A tokenizer.json would be read in the
// place of the two other forms.
std::string good(size_t file, size_t chosen, uint8_t mode) {
  const bool byte_level = chosen == kVocab || chosen == kMerges;
  switch (file) {
    case kSafetensors:
      return good_safetensors();
    case kConfig:
      return good_config(mode);
    case kTokenizer:
      return byte_level || chosen == kSentencePiece
                 ? ""
                 : R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b"]]}})";
    case kVocab:
      return byte_level ? R"({"a":0,"b":1,"ab":2})" : "";
    case kMerges:
      return byte_level ? "#version: 0.2\na b\n" : "";
    default:
      return "";
  }
}

// A folder in memory, in which only what changes is written: a disk would allow some hundred inputs a second.
class Folder {
 public:
  Folder() {
    std::error_code ignored;
    std::string name = std::filesystem::is_directory("/dev/shm", ignored)
                           ? "/dev/shm/tern-fuzz-XXXXXX"
                           : std::filesystem::temp_directory_path() / "tern-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
    std::filesystem::create_directory(path_ / "1_Pooling");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Nothing: no such file.
  void set(size_t file, std::optional<std::string> bytes) {
    if (bytes == content_.at(file)) {
      return;
    }
    const std::filesystem::path name = path_ / kNames.at(file);
    if (bytes) {
      const int out = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      if (out < 0 ||
          ::write(out, bytes->data(), bytes->size()) != static_cast<ssize_t>(bytes->size())) {
        std::abort();
      }
      ::close(out);
    } else {
      ::unlink(name.c_str());
    }
    content_.at(file) = std::move(bytes);
  }

 private:
  std::filesystem::path path_;
  std::array<std::optional<std::string>, kFiles> content_;
};

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  if (size == 0) {
    return 0;
  }
  static Folder folder;
  const size_t chosen = data[0] % kCompressed % kFiles;
  for (size_t file = 0; file < kFiles; ++file) {
    if (file == chosen) {
      folder.set(file, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
    } else {
      std::string bytes = good(file, chosen, data[0]);
      folder.set(file, bytes.empty() ? std::nullopt : std::optional(std::move(bytes)));
    }
  }
  const auto file = TensorFile::open(folder.path());
  if (file) {
    testing::read_all(*file);
  } else {
    testing::check_message(file.error());
  }
  return 0;
}
