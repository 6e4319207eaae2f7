// A corpus of damaged model files, made from small good ones: every field of a GGUF file and every cut, every field of a safetensors
// header, keys of the wrong type in the JSON files beside it. Each case names words that its message must have: where, what was
// expected, or what to do.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/arch/arch.h"
#include "engine/model/tokenizer.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::ByteVector;

// A small GGUF file that remembers where each of its fields lies.
class GgufFields {
 public:
  GgufFields() {
    for (const char c : {'G', 'G', 'U', 'F'}) {
      field("magic", c);
    }
    at_["magic"] = 0;
    field("version", uint32_t{3});
    field("tensor count", uint64_t{2});
    field("key count", uint64_t{5});
    key("general.alignment", uint32_t{4}, uint32_t{32});
    key("flag", uint32_t{7}, uint8_t{1});
    key("large", uint32_t{10}, uint64_t{7});
    key("general.architecture", uint32_t{8}, uint64_t{5});
    append("llama");
    key("list", uint32_t{9}, uint32_t{4});
    field("list count", uint64_t{3});
    for (uint32_t i = 0; i < 3; ++i) {
      testing::put(bytes, i);
    }
    tensor("a", 8, 2, 0);
    tensor("b", 32, 4, 64);
    bytes.resize((bytes.size() + 31) / 32 * 32 + 64 + 512);
  }

  // The file with another number in a field.
  template <class T>
  ByteVector with(const std::string& name, T value) const {
    ByteVector changed = bytes;
    std::memcpy(&changed.at(at_.at(name)), &value, sizeof value);
    return changed;
  }
  const std::map<std::string, size_t>& fields() const { return at_; }

  ByteVector bytes;

 private:
  template <class T>
  void field(const std::string& name, T value) {
    at_[name] = bytes.size();
    testing::put(bytes, value);
  }
  void append(std::string_view text) {
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    bytes.insert(bytes.end(), begin, begin + text.size());
  }
  template <class T>
  void key(const std::string& name, uint32_t kind, T value) {
    field(name + " length", uint64_t{name.size()});
    append(name);
    field(name + " kind", kind);
    field(name, value);
  }
  void tensor(const std::string& name, uint64_t cols, uint64_t rows, uint64_t offset) {
    field(name + " length", uint64_t{1});
    append(name);
    field(name + " dimensions", uint32_t{2});
    field(name + " cols", cols);
    field(name + " rows", rows);
    field(name + " type", uint32_t{0});
    field(name + " offset", offset);
  }

  std::map<std::string, size_t> at_;
};

class DamagedFiles : public ::testing::Test {
 protected:
  static std::string error_of(const fs::path& path) {
    const auto file = TensorFile::open(path);
    if (!file) {
      return file.error().message;
    }
    std::vector<std::string> notices;
    if (const auto config = read_config(*file, notices); !config) {
      return config.error().message;
    }
    const auto tokenizer = Tokenizer::from_file(*file);
    return tokenizer ? "no error" : tokenizer.error().message;
  }

  void expect(const std::string& what, const fs::path& path, std::string_view words) {
    ++cases_;
    const std::string message = error_of(path);
    EXPECT_NE(message.find(words), std::string::npos)
        << what << ": expected \"" << words << "\", found: " << message;
    EXPECT_LT(message.size(), 2000U) << what;
  }

  // ---- GGUF
  void gguf(const std::string& what, const ByteVector& bytes, std::string_view words) {
    write("m.gguf", bytes);
    expect(what, folder_ / "m.gguf", words);
  }
  template <class T>
  void field(const std::string& name, std::initializer_list<T> values, std::string_view words) {
    for (const T value : values) {
      gguf(name + " = " + std::to_string(value), good_.with(name, value), words);
    }
  }

  // ---- a folder
  void SetUp() override {
    fs::copy(testing::source_path("tests/golden/hf/llama-bf16"), folder_ / "hf");
  }
  static Json json_of(const fs::path& path) { return Json::parse(std::ifstream(path)); }
  static std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void text(const char* name, const std::string& text, std::string_view words) {
    const std::string before = text_of(folder_ / "hf" / name);
    std::ofstream(folder_ / "hf" / name, std::ios::binary) << text;
    expect(
        std::string(name) + " of " + std::to_string(text.size()) + " bytes: " + text.substr(0, 150),
        folder_ / "hf", words);
    std::ofstream(folder_ / "hf" / name, std::ios::binary) << before;
  }
  void edit(const char* name, const std::function<void(Json&)>& change, std::string_view words) {
    Json json = json_of(folder_ / "hf" / name);
    change(json);
    text(name, json.dump(), words);
  }
  void safetensors(const Json& tensor, size_t data, std::string_view words) {
    const std::string header = Json{{"model.norm.weight", tensor}}.dump();
    const uint64_t length = header.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    text("model.safetensors", file + header + std::string(data, '\0'), words);
  }

  void write(const char* name, const ByteVector& bytes) {
    std::ofstream(folder_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  const GgufFields good_;
  testing::TempFolder folder_;
  int cases_ = 0;
};

TEST_F(DamagedFiles, Gguf) {
  write("good.gguf", good_.bytes);
  ASSERT_TRUE(TensorFile::open(folder_ / "good.gguf").has_value());
  // Cut where each field begins, and within it.
  for (const auto& [name, at] : good_.fields()) {
    for (const size_t size : {at, at + 1}) {
      ByteVector cut(good_.bytes.begin(), good_.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      gguf("cut in " + name + " at " + std::to_string(size), cut, "download it again");
    }
  }
  field<uint32_t>("magic", {0, 0x12345678, 0xFFFFFFFF}, "expected a GGUF file");
  field<uint32_t>("version", {1, 4, 99, 0xFFFF}, "found version");
  field<uint32_t>("version", {0x02000000, 0x03000000}, "big-endian");
  field<uint64_t>("tensor count", {(1U << 20U) + 1, uint64_t{1} << 63U, UINT64_MAX},
                  "expected at most 1048576 tensors");
  field<uint64_t>("tensor count", {1000, 1U << 20U}, "tensors need at least");
  field<uint64_t>("key count", {(1U << 20U) + 1, uint64_t{1} << 63U, UINT64_MAX},
                  "expected at most 1048576 keys");
  field<uint64_t>("key count", {1000, 1U << 20U}, "keys need at least");
  for (const char* key : {"general.alignment", "flag", "large", "general.architecture", "list"}) {
    field<uint64_t>(std::string(key) + " length", {uint64_t{1} << 40U, UINT64_MAX},
                    "expected a text of at most");
    field<uint32_t>(std::string(key) + " kind", {13, 99, UINT32_MAX},
                    std::string("key ") + key + ": expected a value type from 0 to 12");
  }
  field<uint64_t>("general.architecture", {uint64_t{1} << 30U, UINT64_MAX},
                  "key general.architecture: expected a text of at most");
  field<uint64_t>("general.architecture", {1U << 20U}, "download it again");
  field<uint8_t>("flag", {2, 255}, "key flag: expected a boolean");
  field<uint64_t>("large", {uint64_t{1} << 63U, UINT64_MAX},
                  "key large: expected an integer below 2^63");
  field<uint32_t>("list", {9}, "key list: arrays of arrays");
  field<uint32_t>("list", {13, UINT32_MAX}, "key list: expected a value type");
  field<uint64_t>("list count", {1U << 20U, uint64_t{1} << 62U, UINT64_MAX},
                  "key list: expected an array of");
  field<uint32_t>("general.alignment", {0, 1, 4, 24, 33, 0x80000000},
                  "key general.alignment: expected a power of two");
  for (const std::string tensor : {"a", "b"}) {
    field<uint64_t>(tensor + " length", {1025, UINT64_MAX}, "at most 1024 bytes");
    field<uint32_t>(tensor + " dimensions", {0, 5, UINT32_MAX},
                    "tensor " + tensor + ": expected 1 to 4 dimensions");
    for (const char* size : {" cols", " rows"}) {
      field<uint64_t>(tensor + size, {0}, "is 0: expected at least 1");
      field<uint64_t>(tensor + size, {uint64_t{1} << 63U, UINT64_MAX, INT64_MAX}, "more than 2^63");
      field<uint64_t>(tensor + size, {uint64_t{1} << 40U}, "bytes are missing");
    }
    field<uint32_t>(tensor + " type",
                    {4, 5, 9, 15, 16, 18, 19, 21, 23, 29, 31, 38, 40, 77, 133, 137},
                    "tensor " + tensor + ": type id ");
    field<uint32_t>(tensor + " type", {10, 12, 14, 35}, "multiple of 256 weights");
    field<uint64_t>(tensor + " offset", {1, 33, 48}, "is not a multiple of 32");
    field<uint64_t>(tensor + " offset", {uint64_t{1} << 40U}, "bytes are missing");
    field<uint64_t>(tensor + " offset", {UINT64_MAX - 31}, "is beyond any file");
  }
  field<uint64_t>("a offset", {64}, "overlap");
  field<uint64_t>("b offset", {0, 32}, "overlap");
  EXPECT_GE(cases_, 150);
}

// Weights in the kernels' own layouts: 70 x 192 in tiles of 32 x 4, their scales beside them.
TEST_F(DamagedFiles, Packed) {
  struct File {
    int64_t version = 1;
    std::vector<int64_t> tile = {32, 4};
    uint64_t alignment = 64;
    uint32_t type = 0x304E5254;
    std::vector<uint64_t> shape = {192, 70};
    size_t bytes = size_t{96} * 192 / 4;
    std::vector<uint64_t> scales = {3, 70};
    uint32_t scale_type = 0;
  };
  const auto with = [&](const std::string& what, const auto& change, std::string_view words) {
    File file;
    change(file);
    testing::GgufWriter writer;
    writer.set_alignment(file.alignment);
    if (file.version >= 0) {
      writer.set_int("tern.packed.version", file.version);
    }
    if (!file.tile.empty()) {
      writer.set_ints("tern.packed.two_bit", file.tile);
    }
    writer.add_tensor("w", file.type, file.shape, ByteVector(file.bytes));
    if (!file.scales.empty()) {
      size_t count = file.scale_type == 0 ? 4 : 2;
      for (const uint64_t size : file.scales) {
        count *= size;
      }
      writer.add_tensor("w.scales", file.scale_type, file.scales, ByteVector(count));
    }
    gguf(what, writer.bytes(), words);
  };
  with(
      "good", [](File&) {}, "general.architecture");
  for (const int64_t version : {-1, 0, 2, 1000}) {
    with(
        "version", [&](File& f) { f.version = version; },
        "key tern.packed.version: expected 1, found " +
            (version < 0 ? "none" : std::to_string(version)));
  }
  for (const std::vector<int64_t>& tile : {std::vector<int64_t>{},
                                           {32},
                                           {32, 4, 1},
                                           {4, 32},
                                           {33, 4},
                                           {0, 0},
                                           {-32, 4},
                                           {INT64_MAX, 4}}) {
    with(
        "tile", [&](File& f) { f.tile = tile; },
        tile.size() == 2 ? "key tern.packed.two_bit: expected a tile that Tern knows (16 x 4"
                         : "key tern.packed.two_bit: expected two integers");
  }
  with(
      "type of another packing", [](File& f) { f.type += 1; }, "key tern.packed.base3");
  with(
      "no packing", [](File& f) { f.type += 5; }, "type id 810439257");
  with(
      "alignment", [](File& f) { f.alignment = 32; }, "key general.alignment: expected a multiple");
  for (const size_t bytes : {size_t{1}, size_t{70} * 192 / 4, size_t{96} * 192 / 4 - 64}) {
    with(
        "length", [&](File& f) { f.bytes = bytes; }, bytes == 1 ? "cut off" : "overlap");
  }
  with(
      "rows", [](File& f) { f.shape[1] = 97; }, "overlap");
  with(
      "rows of other scales", [](File& f) { f.shape[1] = 71; }, "w.scales: expected one F32");
  with(
      "32 bits of rows", [](File& f) { f.shape[1] = uint64_t{1} << 32U; }, "");
  with(
      "no scales", [](File& f) { f.scales.clear(); }, "w.scales: expected the scales");
  with(
      "halves", [](File& f) { f.scale_type = 1; }, "w.scales: expected one F32");
  for (const std::vector<uint64_t>& scales : {std::vector<uint64_t>{2},
                                              {70},
                                              {3, 69},
                                              {2, 70},
                                              {6, 70},
                                              {5, 70},
                                              {70, 3},
                                              {3, 70, 2},
                                              {193, 70}}) {
    with(
        "scales", [&](File& f) { f.scales = scales; },
        scales == std::vector<uint64_t>{2, 70} ? "expected" : "w.scales: expected one F32");
  }
  with(
      "split head", [](File& f) { f.type = 0x304E5258; }, "cut off");
  EXPECT_GE(cases_, 30);
}

TEST_F(DamagedFiles, Safetensors) {
  ASSERT_EQ(error_of(folder_ / "hf"), "no error");
  const std::string whole = text_of(folder_ / "hf/model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  for (const size_t size :
       {size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{8} + header / 2, size_t{7} + header,
        size_t{8} + header, whole.size() / 2, whole.size() - 1}) {
    text("model.safetensors", whole.substr(0, size), "download it again");
  }
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 40U, UINT64_MAX}) {
    std::string file = whole;
    std::memcpy(file.data(), &length, sizeof length);
    text("model.safetensors", file, "expected a header of at most");
  }
  for (const char* dtype : {"F33", "", "f32", "float32", "\n"}) {
    safetensors({{"dtype", dtype}, {"shape", {4}}, {"data_offsets", {0, 16}}}, 16,
                "expected a dtype that safetensors has");
  }
  for (const char* dtype : {"F64", "I32", "U32", "BOOL", "F8_E4M3"}) {
    const int bytes = dtype[0] == 'B' || dtype[1] == '8' ? 4 : dtype[1] == '6' ? 32 : 16;
    safetensors({{"dtype", dtype}, {"shape", {4}}, {"data_offsets", {0, bytes}}}, 32,
                "expected F32, F16 or BF16");
  }
  const Json shapes[] = {"four", 4, nullptr, Json::object(), {1, 1, 1, 1, 1, 1, 1, 1, 4}};
  for (const Json& shape : shapes) {
    safetensors({{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {0, 16}}}, 16,
                "expected a shape");
  }
  for (const Json& size : {Json(-4), Json(4.0), Json("4"), Json(nullptr), Json(UINT64_MAX)}) {
    safetensors({{"dtype", "F32"}, {"shape", {size}}, {"data_offsets", {0, 16}}}, 16,
                "shape: expected a whole number");
  }
  for (const Json& offset : {Json(-1), Json(0.0), Json("0"), Json(nullptr), Json::array()}) {
    safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {offset, 16}}}, 16,
                "data_offsets: expected a whole number");
    safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {0, offset}}}, 16,
                "data_offsets: expected a whole number");
  }
  for (const Json& offsets :
       {Json(nullptr), Json(3), Json::array(), Json::array({0}), Json::array({0, 8, 16})}) {
    safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", offsets}}, 16,
                "expected two data_offsets");
  }
  safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {0, 12}}}, 16,
              "expected 16 bytes");
  safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {16, 0}}}, 16,
              "expected 16 bytes");
  safetensors({{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {8, 24}}}, 16, "cut off");
  safetensors({{"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {0, 0}}}, 0, "dimensions");
  safetensors({{"dtype", "F32"}, {"shape", {1, 1, 1, 1, 4}}, {"data_offsets", {0, 16}}}, 16,
              "expected 1 to 4 dimensions");
  for (const Json& tensor : {Json(1), Json("x"), Json(nullptr), Json::array(), Json::object()}) {
    safetensors(tensor, 16, "tensor model.norm.weight: expected a");
  }
  EXPECT_GE(cases_, 40);
}

TEST_F(DamagedFiles, JsonBesideIt) {
  for (const char* name : {"config.json", "tokenizer.json"}) {
    const std::string whole = text_of(folder_ / "hf" / name);
    for (const std::string& broken :
         {std::string(), std::string("[]"), std::string("null"), whole + "}",
          whole.substr(0, whole.size() / 2), "\xFF\xFE" + whole}) {
      text(name, broken, std::string(name) + ": expected a JSON object");
    }
  }
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings"}) {
    for (const Json& value : {Json("text"), Json(1.5), Json({1}), Json(true), Json::object()}) {
      edit(
          "config.json", [&](Json& config) { config[key] = value; },
          "config.json: key " + std::string(key) + ": expected a whole number");
    }
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    for (const Json& value : {Json("text"), Json({1}), Json(true), Json::object()}) {
      edit(
          "config.json", [&](Json& config) { config[key] = value; },
          "config.json: key " + std::string(key) + ": expected a number");
    }
  }
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"}) {
    edit(
        "config.json", [&](Json& config) { config.erase(key); }, "key llama.");
    for (const int64_t value : {int64_t{-1}, int64_t{0}, INT64_MAX}) {
      edit(
          "config.json", [&](Json& config) { config[key] = value; }, "key llama.");
    }
  }
  for (const Json& value :
       {Json(), Json::array(), Json("LlamaForCausalLM"), Json({1}), Json({"X"})}) {
    edit(
        "config.json", [&](Json& config) { config["architectures"] = value; },
        "key architectures: expected one that Tern runs");
  }
  const std::pair<const char*, Json> tokenizer[] = {
      {"expected a BPE model, found none", nullptr},
      {"expected a BPE model, found ", {{"type", "Unigram"}}},
      {"a vocabulary, found none", {{"type", "BPE"}, {"merges", Json::array()}}},
      {"a vocabulary, found none", {{"type", "BPE"}, {"vocab", Json::array()}}},
      {"a vocabulary, found none", {{"type", "BPE"}, {"vocab", Json::object()}}},
      {"expected a list of merges", {{"type", "BPE"}, {"vocab", {{"a", 0}}}}},
      {"expected a list of merges", {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", "a b"}}},
      {"expected merges of two texts",
       {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", Json::array({1})}}},
      {"token a: expected an id below", {{"type", "BPE"}, {"vocab", {{"a", -1}}}}},
      {"token a: expected an id below", {{"type", "BPE"}, {"vocab", {{"a", 1.5}}}}},
      {"token a: expected an id below", {{"type", "BPE"}, {"vocab", {{"a", "0"}}}}},
      {"token a: expected an id below", {{"type", "BPE"}, {"vocab", {{"a", 1U << 24U}}}}}};
  for (const auto& [words, model] : tokenizer) {
    edit(
        "tokenizer.json", [&, &value = model](Json& json) { json["model"] = value; }, words);
  }
  // Merges without a place to cut, where pieces are ranked by them.
  edit(
      "tokenizer.json",
      [](Json& json) {
        json.erase("pre_tokenizer");
        json["model"]["merges"] = {"ab"};
      },
      "expected merges of two texts");
  // Nested far deeper than a stack is.
  const std::string deep(100'000, '[');
  text("config.json", R"({"hidden_size": )" + deep + std::string(100'000, ']') + "}",
       "expected a JSON object");
  // An index beside the file takes its place.
  const auto index = [&](const Json& json, std::string_view words) {
    std::ofstream(folder_ / "hf/model.safetensors.index.json") << json;
    expect("index " + json.dump(), folder_ / "hf", words);
  };
  for (const Json& map : {Json(nullptr), Json::array(), Json::object(), Json("x"), Json(1)}) {
    index({{"weight_map", map}}, "expected a weight_map");
  }
  for (const Json& file :
       {Json(1), Json(nullptr), Json(""), Json("/etc/x"), Json("../x"), Json("..")}) {
    index({{"weight_map", {{"t", file}}}}, "the name of a file in the same folder");
  }
  index({{"weight_map", {{"t", "missing.safetensors"}}}}, "missing.safetensors");
  index(Json::array(), "expected a JSON object");
  EXPECT_GE(cases_, 80);
}

}  // namespace
}  // namespace tern
