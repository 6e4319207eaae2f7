// Any bytes as one of the files of a Hugging Face folder whose others are good: refused with a message, or read in full. The first byte
// chooses the file; from 64 on, config.json says that OneCompression compressed the weights, from 128 on that MLX did.

#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/fuzz/read_model_file.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

constexpr std::array<const char*, 6> kNames = {
    "model.safetensors",     "config.json",
    "tokenizer.json",        "model.safetensors.index.json",
    "tokenizer_config.json", "generation_config.json"};

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

std::string good(size_t file, uint8_t mode) {
  switch (file) {
    case 0:
      return good_safetensors();
    case 1:
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
    case 2:
      return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b"]]}})";
    default:
      return "";
  }
}

void write(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  if (size == 0) {
    return 0;
  }
  static const testing::TempFolder folder;
  const size_t chosen = data[0] % kCompressed % kNames.size();
  for (size_t file = 0; file < kNames.size(); ++file) {
    const std::filesystem::path path = folder / kNames[file];
    if (file == chosen) {
      write(path, {reinterpret_cast<const char*>(data) + 1, size - 1});
    } else if (const std::string bytes = good(file, data[0]); !bytes.empty()) {
      write(path, bytes);
    } else {
      std::filesystem::remove(path);
    }
  }
  const auto file = TensorFile::open(folder / "");
  if (file) {
    testing::read_all(*file);
  } else {
    testing::check_message(file.error());
  }
  return 0;
}
