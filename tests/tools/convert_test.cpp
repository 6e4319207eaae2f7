// tern convert: every source that other programs wrote x every type that Tern writes. Truth are the values that the gguf package or
// this repository's descriptions of the formats give for the source's bytes, transformers' logits, and rules in plain loops for
// what a type can hold.
//
// A new format joins by its golden file: a line in kGoldenFormats, and a model (if there is one) in tests/golden/models or hf.

#include "tools/convert_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/arch/model.h"
#include "engine/base/half.h"
#include "engine/model/weights.h"
#include "kernels/select.h"
#include "tests/support/golden_format.h"
#include "tests/support/logits.h"
#include "tests/support/slow_model.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using cli::ConvertOptions;
using Values = std::map<std::string, std::vector<float>>;

const fs::path kGolden = testing::source_path("tests/golden");

// What layers can become: a type, or the order of this machine's kernels.
struct Target {
  std::string_view name;
  const WeightFormat* type;  // null: the kernels' order

  bool ternary() const { return type == nullptr || type->ternary; }
  bool is(const WeightFormat& format) const {
    return type == nullptr ? format.packed() : &format == type;
  }
  bool fits(const Tensor& tensor) const {
    return type == nullptr || tensor_bytes(*type, tensor.rows(), tensor.cols()) != 0;
  }
  ConvertOptions options(bool lossy = false) const {
    ConvertOptions options{.type = type, .allow_lossy = lossy, .threads = 2};
    if (type == nullptr) {
      options.packed = {&testing::tested_table(), {}};
    }
    return options;
  }
};

std::vector<Target> targets() {
  std::vector<Target> found = {{"tern", nullptr}};
  for (const WeightFormat* format : all_weight_formats()) {
    if (cli::is_layer_target(*format)) {
      found.push_back({format->name, format});
    }
  }
  return found;
}

bool is_layer_weight(const Tensor& tensor) {
  return tensor.name.starts_with("blk.") && tensor.shape.size() > 1;
}

// A tensor's weights, and the scale that lies beside them.
std::vector<float> values_of(const TensorFile& file, const Tensor& tensor) {
  const int64_t rows = tensor.rows();
  const int64_t cols = tensor.cols();
  std::vector<float> values(static_cast<size_t>(rows * cols));
  if (!tensor.format->ternary) {
    for (int64_t row = 0; row < rows; ++row) {
      testing::tested_table().dense_row(*dense_matrix(tensor), static_cast<int32_t>(row),
                                        &values[static_cast<size_t>(row * cols)]);
    }
    return values;
  }
  const int64_t width = tensor.format->scale_width(cols);
  std::vector<int8_t> trits(values.size());
  std::vector<float> scales(static_cast<size_t>(rows * (cols / width)), mean_magnitude(tensor, 1));
  EXPECT_TRUE(unpack_rows(tensor, *tensor.format, 0, rows, trits.data(), scales.data()));
  float beside = 1;
  if (const Tensor* scale = file.find(tensor.name.substr(0, tensor.name.rfind('.')) + ".scale")) {
    std::memcpy(&beside, scale->data.data(), sizeof beside);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t group = tensor.format->cols_per_scale == 0 ? 0 : i / static_cast<size_t>(width);
    values[i] = static_cast<float>(trits[i]) * (scales[group] * beside);
  }
  return values;
}

Values layer_values(const TensorFile& file) {
  Values values;
  for (const Tensor& tensor : file.tensors()) {
    if (is_layer_weight(tensor)) {
      values[tensor.name] = values_of(file, tensor);
    }
  }
  return values;
}

bool is_half(float value) {
  return half_to_float(float_to_half(value)) == value;
}

// Whether a type can say these values, by its description. The kernels' order has scales as fine as kernels multiply by.
bool can_hold(const Target& target, const std::vector<float>& values, int64_t cols) {
  static const WeightFormat kFinest = [] {
    WeightFormat format = *find_weight_format("iq2_bn");
    format.cols_per_scale = 64;
    return format;
  }();
  const WeightFormat& to = target.type == nullptr ? kFinest : *target.type;
  if (!to.ternary) {
    return std::ranges::all_of(values, [&](float value) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      return to.name == "F32" || (to.name == "F16" ? is_half(value) : bits % 65536 == 0);
    });
  }
  const auto group =
      static_cast<size_t>(to.cols_per_scale == 0  ? static_cast<int64_t>(values.size())
                          : to.cols_per_scale < 0 ? cols
                                                  : to.cols_per_scale);
  for (size_t begin = 0; begin < values.size(); begin += group) {
    float size = 0;
    for (size_t i = begin; i < begin + group; ++i) {
      const float magnitude = std::fabs(values[i]);
      if ((magnitude == 0 && !to.has_zeros) || (magnitude != 0 && size != 0 && magnitude != size)) {
        return false;
      }
      size = std::max(size, magnitude);
    }
    if (to.half_scales && !is_half(size)) {
      return false;
    }
  }
  return true;
}

struct Source {
  std::string name;    // a folder or file of tests/golden
  std::string golden;  // the entry of the manifest that holds the same weights

  friend void PrintTo(const Source& source, std::ostream* out) { *out << source.name; }
};

const nlohmann::json& manifest() {
  static const nlohmann::json kManifest =
      nlohmann::json::parse(std::ifstream(kGolden / "models/manifest.json"));
  return kManifest;
}

nlohmann::json manifest_entry(const std::string& name) {
  for (const auto& model : manifest()["models"]) {
    if (model["name"] == name) {
      return model;
    }
  }
  throw std::runtime_error("no golden model " + name);
}

// All Hugging Face folders, and all models whose layers are ternary or floats.
std::vector<Source> sources() {
  std::vector<Source> all;
  for (const auto& model : manifest()["models"]) {
    const std::string name = model["name"];
    if (model["class"] == "ternary" || name.ends_with("f32") || name.ends_with("f16")) {
      all.push_back({"models/" + model["file"].get<std::string>(), name});
    }
  }
  for (const auto& entry : fs::directory_iterator(kGolden / "hf")) {
    if (entry.is_directory()) {
      all.push_back({"hf/" + entry.path().filename().string(), entry.path().filename().string()});
    }
  }
  all.push_back({"mlx/llama", "llama-tq2_0-groups"});
  return all;
}

class Convert : public ::testing::TestWithParam<Source> {
 protected:
  static Result<cli::ConvertReport> convert(const fs::path& from, const fs::path& to,
                                            const ConvertOptions& options) {
    return cli::convert_model(TensorFile::open(from).value(), to, options);
  }
  static std::vector<int32_t> tokens() { return manifest()["tokens"]; }
  static std::vector<float> logits_of(const fs::path& path) {
    const TensorFile file = TensorFile::open(path).value();
    return testing::DecoderRunner(file, testing::tested_table(), 1).logits(tokens(), 16);
  }
  static double difference(const std::vector<float>& logits, const auto& truth) {
    return testing::overall(testing::differences(logits, truth, manifest()["vocabulary"]));
  }

  testing::TempFolder folder_;
};

TEST_P(Convert, KeepsEveryWeightOrRefuses) {
  const fs::path path = kGolden / GetParam().name;
  const TensorFile in = TensorFile::open(path).value();
  const Values values = layer_values(in);
  for (const Target& target : targets()) {
    SCOPED_TRACE(target.name);
    const fs::path out = folder_ / "out.gguf";
    fs::remove(out);
    bool fits = true;
    bool holds = true;
    for (const Tensor& tensor : in.tensors()) {
      if (is_layer_weight(tensor)) {
        fits = fits && target.fits(tensor);
        holds = holds && can_hold(target, values.at(tensor.name), tensor.cols());
      }
    }
    const auto done = convert(path, out, target.options());
    ASSERT_EQ(done.has_value(), fits && holds) << (done ? "" : done.error().message);
    if (!done) {
      EXPECT_NE(done.error().message.find("tensor blk."), std::string::npos)
          << done.error().message;
      EXPECT_NE(done.error().message.find(fits ? "--allow-lossy" : "do not divide"),
                std::string::npos)
          << done.error().message;
      EXPECT_FALSE(fs::exists(out));
      ASSERT_EQ(convert(path, out, target.options(true)).has_value(), fits);
      continue;
    }
    const TensorFile file = TensorFile::open(out).value();
    // The folders' rows of queries and keys are ordered otherwise; their golden files have them as a GGUF file must.
    const TensorFile golden =
        TensorFile::open(kGolden / "models" /
                         manifest_entry(GetParam().golden)["file"].get<std::string>())
            .value();
    const bool same_bits =
        GetParam().golden != "bitnet-scale-tensors" && GetParam().golden != "bitnet-25-i2_s";
    for (const auto& [name, converted] : layer_values(file)) {
      const std::vector<float> truth = values_of(golden, *golden.find(name));
      EXPECT_TRUE(target.is(*file.find(name)->format)) << name;
      for (size_t i = 0; i < truth.size(); ++i) {
        // A folder's scale came about by division, or as a mean: a last bit or two.
        const float tolerance = same_bits ? 0 : 1e-6F * std::fabs(truth[i]);
        ASSERT_NEAR(converted[i], truth[i], tolerance) << name << " " << i;
      }
    }
    // Beside the kernels' order scales stay where they are, as they do where nothing changes.
    const bool kept =
        target.type == nullptr || in.find("blk.0.attn_q.weight")->format == target.type;
    EXPECT_EQ(file.find("blk.0.attn_q.scale") != nullptr,
              kept && in.find("blk.0.attn_q.scale") != nullptr);
  }
}

TEST_P(Convert, TheConvertedModelComputesTheSame) {
  const fs::path path = kGolden / GetParam().name;
  const size_t count = tokens().size() * manifest()["vocabulary"].get<size_t>();
  std::vector<float> truth(count);
  std::ifstream in(
      kGolden / "models" / manifest_entry(GetParam().golden)["logits"].get<std::string>(),
      std::ios::binary);
  ASSERT_TRUE(in.read(reinterpret_cast<char*>(truth.data()),
                      static_cast<std::streamsize>(count * sizeof(float))));
  const bool ternary = manifest_entry(GetParam().golden)["class"] == "ternary";
  for (const Target& target : targets()) {
    SCOPED_TRACE(target.name);
    const fs::path out = folder_ / "out.gguf";
    if (!convert(path, out, target.options())) {
      continue;
    }
    if (ternary == target.ternary()) {
      EXPECT_LT(difference(logits_of(out), truth), ternary ? 0.04 : 1e-3);
    } else {  // floats of ternary weights are not multiplied with rounded activations
      const TensorFile file = TensorFile::open(out).value();
      EXPECT_LT(difference(logits_of(out), testing::slow_logits(file, tokens())), 1e-3);
    }
    LoadOptions options;
    options.compute.kernels = &testing::tested_table();
    const auto model = Model::load(out, options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    EXPECT_EQ((*model)->tokenizer().encode(manifest()["text"].get<std::string>()), tokens());
  }
}

// To any type and back: the bytes of every tensor and of every key.
TEST_P(Convert, AndBackIsTheSameFile) {
  const fs::path path = kGolden / GetParam().name;
  if (fs::is_directory(path)) {
    return;  // the way back is not a folder
  }
  const TensorFile before = TensorFile::open(path).value();
  const WeightFormat& type = *before.find("blk.0.attn_q.weight")->format;
  if (before.find("blk.0.attn_q.scale") != nullptr) {
    return;  // two scales become one
  }
  int trips = 0;
  for (const Target& other : targets()) {
    SCOPED_TRACE(other.name);
    const fs::path away = folder_ / "away.gguf";
    const fs::path back = folder_ / "back.gguf";
    ConvertOptions there = other.options();
    if (there.packed) {
      there.packed->head = HeadType::kQ6K;  // which is left out on the way back
    }
    if (!convert(path, away, there)) {
      continue;
    }
    const auto done = convert(away, back, {.type = &type});
    ASSERT_TRUE(done.has_value()) << done.error().message;
    ++trips;
    const TensorFile after = TensorFile::open(back).value();
    ASSERT_EQ(after.tensors().size(), before.tensors().size());
    for (const Tensor& tensor : before.tensors()) {
      EXPECT_TRUE(std::ranges::equal(tensor.data, after.find(tensor.name)->data)) << tensor.name;
    }
    for (const auto& [key, value] : before.metadata()) {
      EXPECT_TRUE(std::ranges::equal(before.stored_value(key), after.stored_value(key))) << key;
    }
    EXPECT_EQ(after.metadata().size(),
              before.metadata().size() + 1);  // general.quantization_version
  }
  EXPECT_GE(trips, 1);
}

INSTANTIATE_TEST_SUITE_P(All, Convert, ::testing::ValuesIn(sources()), [](const auto& source) {
  std::string name = source.param.name;
  std::ranges::replace_if(
      name, [](char c) { return !std::isalnum(c); }, '_');
  return name;
});

// Bytes of each format, from the programs or descriptions that define it, as a file of one matrix: as floats they are the values
// that its golden file states, and back from floats they are the bytes.
constexpr const char* kGoldenFormats[] = {
    "iq1_bn", "iq2_bn", "iq2_bn_r4", "tq1_0", "tq2_0", "q1_0", "q2_0",   "q2_0-128",
    "pq2_0",  "ptq1_0", "stq1_0",    "q8_0",  "q4_0",  "q4_1", "q5_0",   "q5_1",
    "q2_k",   "q3_k",   "q4_k",      "q5_k",  "q6_k",  "bf16", "iq4_nl", "mxfp4"};
// Of those, what rows of any width can be cut out of: not the first three.
constexpr std::span kBlockFormats = std::span(kGoldenFormats).subspan(3);

class ConvertFormat : public ::testing::TestWithParam<const char*> {
 protected:
  testing::TempFolder folder_;
};

TEST_P(ConvertFormat, BecomesItsValuesAndComesBack) {
  const testing::GoldenFormat golden = testing::read_golden_format(GetParam());
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "none");
  writer.add_tensor("blk.0.ffn_up.weight", golden.ggml_type,
                    {static_cast<uint64_t>(golden.cols), static_cast<uint64_t>(golden.rows)},
                    golden.data);
  writer.save(folder_ / "in.gguf");
  const TensorFile in = TensorFile::open(folder_ / "in.gguf").value();
  const WeightFormat& own = *in.tensors().front().format;
  ASSERT_TRUE(cli::convert_model(in, folder_ / "f32.gguf", {.type = find_weight_format("f32")}));
  const TensorFile floats = TensorFile::open(folder_ / "f32.gguf").value();
  const auto values = std::as_bytes(std::span(golden.values));
  for (size_t i = 0; i < golden.values.size(); ++i) {  // by ==: a zero may have a sign
    float value = 0;
    std::memcpy(&value, floats.tensors().front().data.data() + i * sizeof value, sizeof value);
    ASSERT_EQ(value, golden.values[i]) << i;
  }
  ASSERT_EQ(floats.tensors().front().data.size(), values.size());
  if (!cli::is_layer_target(own)) {
    return;
  }
  const auto done = cli::convert_model(floats, folder_ / "back.gguf", {.type = &own});
  ASSERT_TRUE(done.has_value()) << done.error().message;
  const TensorFile back = TensorFile::open(folder_ / "back.gguf").value();
  EXPECT_EQ(values_of(back, back.tensors().front()), golden.values);
}

// A model with matrices in the format, made of blocks of the golden file. What Tern computes of it, and of the same
// model as floats, is what plain loops over the values do.
class ConvertBlocks : public ConvertFormat {};

TEST_P(ConvertBlocks, InAModelGiveTheLogitsOfTheirValues) {
  testing::GoldenFormat golden = testing::read_golden_format(GetParam());
  if (GetParam() == std::string_view("mxfp4")) {
    for (size_t block = 0; block < golden.data.size(); block += 17) {
      golden.data[block] =
          std::byte{123};  // the golden exponents reach 2^127, beyond what floats can sum
    }
  }
  const TensorFile like = TensorFile::open(kGolden / "models/llama-tq2_0-groups.gguf").value();
  testing::GgufWriter writer;
  for (const auto& [key, value] : like.metadata()) {
    const auto bytes = like.stored_value(key);
    if (key != "general.file_type") {
      writer.set_raw(key, {bytes.begin(), bytes.end()});
    }
  }
  // The sizes of PQ2_0 are those of another format too.
  writer.set_int("general.file_type", GetParam() == std::string_view("pq2_0") ? 141 : 0);
  int replaced = 0;
  for (const Tensor& tensor : like.tensors()) {
    testing::ByteVector data(tensor.data.begin(), tensor.data.end());
    uint32_t type = tensor.format->ggml_type;
    // Whose results no half of the cache has to hold: golden scales are extreme.
    if (tensor.name.ends_with("ffn_up.weight") || tensor.name.ends_with("attn_output.weight")) {
      type = golden.ggml_type;
      ++replaced;
      const size_t wanted =
          golden.data.size() * static_cast<size_t>(tensor.count()) / golden.values.size();
      data.clear();
      while (data.size() < wanted) {
        const size_t some = std::min(golden.data.size(), wanted - data.size());
        data.insert(data.end(), golden.data.begin(),
                    golden.data.begin() + static_cast<ptrdiff_t>(some));
      }
    }
    writer.add_tensor(tensor.name, type, {tensor.shape.begin(), tensor.shape.end()}, data);
  }
  ASSERT_GE(replaced, 2);
  writer.save(folder_ / "in.gguf");
  const auto tokens = manifest()["tokens"].get<std::vector<int32_t>>();
  const TensorFile in = TensorFile::open(folder_ / "in.gguf").value();
  const auto difference = [&](const TensorFile& file) {
    // Inputs of ternary matrices are rounded there too.
    testing::DecoderRunner runner(file, testing::tested_table(), 1, Activations::kInt8);
    return testing::overall(testing::differences(
        runner.logits(tokens, 16), testing::slow_logits(file, tokens), manifest()["vocabulary"]));
  };
  EXPECT_LT(difference(in), 2e-3);
  ASSERT_TRUE(cli::convert_model(in, folder_ / "f32.gguf", {.type = find_weight_format("f32")}));
  EXPECT_LT(difference(TensorFile::open(folder_ / "f32.gguf").value()), 2e-3);
}

std::string name_of(const ::testing::TestParamInfo<const char*>& info) {
  std::string text = info.param;
  std::ranges::replace(text, '-', '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(All, ConvertFormat, ::testing::ValuesIn(kGoldenFormats), name_of);
INSTANTIATE_TEST_SUITE_P(All, ConvertBlocks,
                         ::testing::ValuesIn(kBlockFormats.begin(), kBlockFormats.end()), name_of);

// A matrix of normal weights, rounded as BitNet rounds: w = t s, s = mean |W|, t = clamp(half_even(W / s)).
TEST(ConvertLossy, FloatsAreRoundedByTheirMeanMagnitude) {
  testing::TempFolder folder;
  constexpr size_t kRows = 6;
  constexpr size_t kCols = 256;
  std::vector<float> weights;
  for (size_t i = 0; i < kRows * kCols; ++i) {
    weights.push_back(std::sin(static_cast<float>(i * i + 1)) * (i < kCols ? 3.0F : 0.5F));
  }
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "none");
  writer.add_f32("blk.0.ffn_up.weight", {kCols, kRows}, weights);
  writer.save(folder / "in.gguf");
  const TensorFile in = TensorFile::open(folder / "in.gguf").value();
  for (const auto& [type, group] : {std::pair("i2_s", weights.size()), std::pair("iq2_bn", kCols),
                                    std::pair("tq2_0", size_t{256})}) {
    const ConvertOptions options{
        .type = find_weight_format(type), .allow_lossy = true, .threads = 2};
    const auto done = cli::convert_model(in, folder / "out.gguf", options);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(done->losses.size(), 1U);
    const TensorFile out = TensorFile::open(folder / "out.gguf").value();
    const std::vector<float> values = values_of(out, out.tensors().front());
    for (size_t begin = 0; begin < weights.size(); begin += group) {
      double mean = 0;
      for (size_t i = begin; i < begin + group; ++i) {
        mean += static_cast<double>(std::fabs(weights[i])) / static_cast<double>(group);
      }
      for (size_t i = begin; i < begin + group; ++i) {
        const double level =
            std::clamp(std::nearbyint(static_cast<double>(weights[i]) / mean), -1.0, 1.0);
        ASSERT_NEAR(values[i], level * mean, mean * 1e-3)
            << type << " " << i;  // a half's last place
      }
    }
  }
}

// Scales that must become one are replaced by the mean over the weights that they scale; the trits stay.
TEST(ConvertLossy, ScalesThatMustBeOneBecomeTheirMean) {
  testing::TempFolder folder;
  std::vector<int8_t> trits(512, 1);
  std::fill_n(trits.begin() + 256, 128, int8_t{0});
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "none");
  writer.add_tensor("blk.0.ffn_up.weight", 35, {256, 2},
                    testing::encode_tq2_0(trits, {1.0F, 4.0F}));
  writer.save(folder / "in.gguf");
  const TensorFile in = TensorFile::open(folder / "in.gguf").value();
  const ConvertOptions options{.type = find_weight_format("i2_s"), .allow_lossy = true};
  ASSERT_TRUE(cli::convert_model(in, folder / "out.gguf", options));
  const TensorFile out = TensorFile::open(folder / "out.gguf").value();
  EXPECT_TRUE(std::ranges::equal(out.tensors().front().data,
                                 testing::encode_i2s(trits, 2.0F)));  // (256 + 128 x 4) / 384
}

TEST(ConvertEmbedding, BecomesTheTypeThatIsAskedFor) {
  testing::TempFolder folder;
  const TensorFile in = TensorFile::open(kGolden / "models/bitnet-b1.58-i2_s-q6_k.gguf").value();
  for (const char* type : {"q8_0", "q6_k", "f16", "q4_k", "q4_0", "bf16", "f32"}) {
    ConvertOptions options{.type = find_weight_format("i2_s"),
                           .embedding = find_weight_format(type)};
    ASSERT_TRUE(cli::convert_model(in, folder / "out.gguf", options)) << type;
    const TensorFile out = TensorFile::open(folder / "out.gguf").value();
    const Tensor& embedding = *out.find("token_embd.weight");
    EXPECT_EQ(embedding.format, options.embedding);
    const std::vector<float> before = values_of(in, *in.find("token_embd.weight"));
    const std::vector<float> after = values_of(out, embedding);
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      error += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
      size += std::pow(static_cast<double>(before[i]), 2);
    }
    // Normal weights in steps of 1/15 of the range of 32 of them, about four deviations: 4 / 15 / sqrt(12) = 8 %.
    EXPECT_LT(std::sqrt(error / size), std::string_view(type).starts_with("q4") ? 0.12 : 0.02)
        << type;
  }
}

TEST(ConvertRefuses, ItsOwnSourceAndDamagedWeights) {
  testing::TempFolder folder;
  fs::copy(kGolden / "models/bitnet-25-i2_s.gguf", folder / "in.gguf");
  const TensorFile in = TensorFile::open(folder / "in.gguf").value();
  const ConvertOptions options{.type = find_weight_format("f32")};
  const auto own = cli::convert_model(in, folder / "in.gguf", options);
  ASSERT_FALSE(own);
  EXPECT_NE(own.error().message.find("of the model itself"), std::string::npos);
  {
    std::fstream file(folder / "in.gguf", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(in.find("blk.0.ffn_up.weight")->data.data() - in.files()[0].bytes().data());
    file.put('\xFF');  // four codes of 3
  }
  const TensorFile damaged = TensorFile::open(folder / "in.gguf").value();
  const auto bad = cli::convert_model(damaged, folder / "out.gguf", options);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("tensor blk.0.ffn_up.weight"), std::string::npos)
      << bad.error().message;
  EXPECT_NE(bad.error().message.find("stands for no weight"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out.gguf"));
}

TEST(ConvertRefuses, WhatOtherProgramsWouldMisread) {
  testing::TempFolder folder;
  const ConvertOptions options{.type = find_weight_format("f16")};
  for (const auto& [name, reason] : {std::pair("onecomp/tool/llama-rotated", "rotated inputs"),
                                     {"onecomp/tool/llama-dbf", "sign matrices"}}) {
    const TensorFile in = TensorFile::open(kGolden / name).value();
    const auto done = cli::convert_model(in, folder / "out.gguf", options);
    ASSERT_FALSE(done) << name;
    EXPECT_NE(done.error().message.find(reason), std::string::npos) << done.error().message;
    EXPECT_FALSE(fs::exists(folder / "out.gguf"));
  }
}

}  // namespace
}  // namespace tern
