// What a model file must hold to be run, and what is said of files that do not, or that are known to be wrong.

#include "engine/arch/arch.h"

#include <gtest/gtest.h>

#include <functional>

#include "engine/arch/model.h"
#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

using testing::GgufWriter;
using testing::TempFolder;

constexpr uint64_t kWidth = 64;
constexpr uint64_t kFfn = 96;
constexpr uint64_t kVocab = 260;
constexpr TokenId kEndOfText = 258;
constexpr TokenId kEndOfTurn = 259;
constexpr uint32_t kF32 = 0;

// A file of one layer in an architecture's shape; `more` may add to it, and one tensor may be left out.
struct FileSpec {
  std::string architecture = "llama";
  std::string name = "test";
  bool sub_norms = false;
  std::function<void(GgufWriter&)> more = [](GgufWriter&) {};
  std::string left_out = {};
};

void add_zeros(GgufWriter& writer, const FileSpec& spec, const std::string& name,
               const std::vector<uint64_t>& shape) {
  uint64_t count = 1;
  for (const uint64_t size : shape) {
    count *= size;
  }
  if (name != spec.left_out) {
    writer.add_tensor(name, kF32, shape, testing::ByteVector(count * sizeof(float)));
  }
}

std::vector<std::string> vocabulary() {
  std::vector<std::string> tokens;
  for (int token = 0; token < static_cast<int>(kVocab); ++token) {
    tokens.push_back("t" + std::to_string(token));
  }
  tokens[kEndOfText] = "<|end_of_text|>";
  tokens[kEndOfTurn] = "<|eot_id|>";
  return tokens;
}

GgufWriter make_file(const FileSpec& spec) {
  GgufWriter writer;
  const std::string& a = spec.architecture;
  writer.set_string("general.architecture", a);
  writer.set_string("general.name", spec.name);
  writer.set_int(a + ".block_count", 1);
  writer.set_int(a + ".embedding_length", kWidth);
  writer.set_int(a + ".feed_forward_length", kFfn);
  writer.set_int(a + ".attention.head_count", 4);
  writer.set_int(a + ".attention.head_count_kv", 2);
  writer.set_int(a + ".context_length", 128);
  writer.set_float(a + ".attention.layer_norm_rms_epsilon", 1e-5);
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "gpt-2");
  writer.set_strings("tokenizer.ggml.tokens", vocabulary());
  writer.set_strings("tokenizer.ggml.merges", {});
  std::vector<int64_t> types(kVocab, 1);      // normal
  types[kEndOfText] = types[kEndOfTurn] = 3;  // control
  writer.set_ints("tokenizer.ggml.token_type", types);
  spec.more(writer);
  add_zeros(writer, spec, "token_embd.weight", {kWidth, kVocab});
  add_zeros(writer, spec, "output_norm.weight", {kWidth});
  for (const char* norm : {"attn_norm", "ffn_norm"}) {
    add_zeros(writer, spec, std::string("blk.0.") + norm + ".weight", {kWidth});
  }
  if (spec.sub_norms) {
    add_zeros(writer, spec, "blk.0.attn_sub_norm.weight", {kWidth});
    add_zeros(writer, spec, "blk.0.ffn_sub_norm.weight", {kFfn});
  }
  add_zeros(writer, spec, "blk.0.attn_q.weight", {kWidth, kWidth});
  add_zeros(writer, spec, "blk.0.attn_k.weight", {kWidth, kWidth / 2});
  add_zeros(writer, spec, "blk.0.attn_v.weight", {kWidth, kWidth / 2});
  add_zeros(writer, spec, "blk.0.attn_output.weight", {kWidth, kWidth});
  add_zeros(writer, spec, "blk.0.ffn_gate.weight", {kWidth, kFfn});
  add_zeros(writer, spec, "blk.0.ffn_up.weight", {kWidth, kFfn});
  add_zeros(writer, spec, "blk.0.ffn_down.weight", {kFfn, kWidth});
  return writer;
}

class ArchTest : public ::testing::Test {
 protected:
  Result<TensorFile> open(const FileSpec& spec) {
    const auto path = folder_ / "model.gguf";
    make_file(spec).save(path);
    return TensorFile::open(path);
  }

  Result<ModelConfig> configure(const FileSpec& spec) {
    ASSIGN_OR_RETURN(const TensorFile file, open(spec));
    return read_config(file, notices_);
  }

  // The error of reading the configuration or of binding the tensors.
  std::string refusal(const FileSpec& spec) {
    const Result<TensorFile> file = open(spec);
    if (!file) {
      return file.error().message;
    }
    const Result<ModelConfig> config = read_config(*file, notices_);
    if (!config) {
      return config.error().message;
    }
    Weights weights(*file, testing::tested_table(), 1);
    const Result<DecoderWeights> decoder = bind_decoder(*config, weights);
    return decoder ? "accepted" : decoder.error().message;
  }

  TempFolder folder_;
  std::vector<std::string> notices_;
};

void expect_words(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(message.find(word), std::string::npos)
        << "expected \"" << word << "\" in: " << message;
  }
}

TEST_F(ArchTest, RunsEachArchitectureWithItsOwnProperties) {
  const Result<ModelConfig> llama = configure({});
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_FALSE(llama->ropes[0].rotate_half);
  EXPECT_FALSE(llama->sub_norms);
  EXPECT_EQ(llama->activation, Activation::kSilu);
  EXPECT_EQ(llama->head_dim, 16);
  EXPECT_EQ(llama->kv_heads, 2);

  const Result<ModelConfig> bitnet = configure({.architecture = "bitnet"});
  ASSERT_TRUE(bitnet) << bitnet.error().message;
  EXPECT_TRUE(bitnet->ropes[0].rotate_half);
  EXPECT_TRUE(bitnet->sub_norms);
  EXPECT_EQ(bitnet->activation, Activation::kSilu);

  for (const char* name : {"bitnet-25", "bitnet-b1.58"}) {
    EXPECT_EQ(configure({.architecture = name})->activation, Activation::kRelu2);
  }
  const Result<ModelConfig> qwen3 = configure({.architecture = "qwen3"});
  EXPECT_EQ(qwen3->qk_norms, QkNorms::kBeforeRope);
  EXPECT_TRUE(qwen3->ropes[0].rotate_half);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(ArchTest, TakesSquaredReluFromAKeyOrAKnownName) {
  const auto key = [](const char* value) {
    return [=](GgufWriter& writer) { writer.set_string("bitnet.hidden_activation", value); };
  };
  EXPECT_EQ(configure({.architecture = "bitnet", .more = key("relu2")})->activation,
            Activation::kRelu2);
  EXPECT_EQ(configure({.architecture = "bitnet", .more = key("silu")})->activation,
            Activation::kSilu);
  expect_words(refusal({.architecture = "bitnet", .more = key("gelu")}),
               {"bitnet.hidden_activation", "gelu"});
  EXPECT_TRUE(notices_.empty());

  const Result<ModelConfig> converted =
      configure({.architecture = "bitnet", .name = "bitnet-b1.58-2B-4T"});
  EXPECT_EQ(converted->activation, Activation::kRelu2);
  ASSERT_EQ(notices_.size(), 1U);
  expect_words(notices_[0], {"2B-4T", "squared ReLU"});
}

TEST_F(ArchTest, RefusesWhatItCannotRun) {
  expect_words(refusal({.architecture = "gpt2"}),
               {"general.architecture", "gpt2", "bitnet-b1.58", "qwen3"});
  expect_words(
      refusal({.more = [](GgufWriter& w) { w.set_string("llama.rope.scaling.type", "longrope"); }}),
      {"llama.rope.scaling.type", "longrope"});
  expect_words(
      refusal({.more = [](GgufWriter& w) { w.set_int("llama.rope.dimension_count", 17); }}),
      {"llama.rope.dimension_count", "17"});
  expect_words(
      refusal({.more = [](GgufWriter& w) { w.set_int("llama.attention.value_length", 8); }}),
      {"llama.attention.value_length", "16", "8"});
}

// The keys of a file whose attn_q is rotated, one of them changed.
struct Rotated {
  int64_t version = 1;
  int64_t block = 32;
  std::string transform = "normalized-sylvester-walsh-hadamard";
  std::string axis = "input-last-dimension";
  std::string sign_mode = "explicit";
  std::vector<int64_t> widths = {64};
  std::vector<int64_t> values = std::vector<int64_t>(64, -1);
  std::vector<std::string> names = {"blk.0.attn_q.weight"};
  std::vector<std::string> inverse = {};
  std::string more = {};

  void operator()(GgufWriter& w) const {
    const auto key = [](const char* name) { return std::string("prism.hadamard.") + name; };
    w.set_int(key("version"), version);
    w.set_int(key("block_size"), block);
    w.set_string(key("transform"), transform);
    w.set_string(key("axis"), axis);
    w.set_string(key("sign_mode"), sign_mode);
    w.set_ints(key("sign_widths"), widths);
    w.set_ints(key("sign_values"), values);
    w.set_strings(key("weight_names"), names);
    w.set_strings(key("inverse_weight_names"), inverse);
    if (!more.empty()) {
      w.set_bool(key(more.c_str()), true);
    }
  }
};

TEST_F(ArchTest, RefusesRotationsByTheKeyThatItCannotHonour) {
  const auto of = [&](Rotated rotated) { return refusal({.more = rotated}); };
  EXPECT_EQ(of({}), "accepted");
  EXPECT_EQ(of({.sign_mode = "identity", .widths = {}, .values = {}}), "accepted");
  const auto expect_key = [&](const Rotated& rotated, const char* key, const char* found) {
    expect_words(of(rotated), {std::string("prism.hadamard.") + key, found, "nonsense"});
  };
  expect_key({.version = 3}, "version", "found 3");
  expect_key({.version = 2}, "tied_output", "found false");
  expect_key({.block = 24}, "block_size", "found 24");
  expect_key({.block = 128}, "block_size", "64 columns");
  expect_key({.transform = "dct"}, "transform", "found dct");
  expect_key({.axis = "output"}, "axis", "found output");
  expect_key({.sign_mode = "seed"}, "sign_mode", "found seed");
  expect_key({.widths = {65}}, "sign_widths", "found 65");
  expect_key({.widths = {32}}, "sign_values", "found 64");
  expect_key({.values = std::vector<int64_t>(64, 2)}, "sign_values", "found 2");
  expect_key({.names = {"blk.0.attn_q.bias"}}, "weight_names", "blk.0.attn_q.bias");
  expect_key({.names = {"blk.7.attn_q.weight"}}, "weight_names", "blk.7.attn_q.weight");
  expect_key({.names = {"blk.0.ffn_down.weight"}}, "sign_widths", "96 columns");
  expect_key({.inverse = {"output.weight"}}, "inverse_weight_names", "output.weight");
  expect_key({.inverse = {"token_embd.weight"}}, "tied_output", "found false");
  expect_key({.more = "seed"}, "seed", "only keys");
  expect_words(refusal({.more = [](GgufWriter& w) { w.set_int("prism.hadamard.version", 1); }}),
               {"prism.hadamard.block_size", "no such key"});
}

TEST_F(ArchTest, NamesTensorsThatAreMissingWrongOrUnknown) {
  EXPECT_EQ(refusal({}), "accepted");
  EXPECT_EQ(refusal({.architecture = "bitnet-b1.58", .sub_norms = true}), "accepted");
  expect_words(refusal({.left_out = "blk.0.ffn_up.weight"}),
               {"blk.0.ffn_up.weight", "64 x 96", "no such tensor"});
  expect_words(refusal({.architecture = "bitnet-b1.58"}),
               {"blk.0.attn_sub_norm.weight", "no such tensor"});
  expect_words(refusal({.more =
                            [](GgufWriter& w) {
                              w.add_f32("blk.0.attn_q.bias", {64}, std::vector<float>(64));
                            }}),
               {"blk.0.attn_q.bias", "wrongly"});
  expect_words(refusal({.more =
                            [](GgufWriter& w) {
                              w.add_f32("output.weight", {32, 2}, std::vector<float>(64));
                            }}),
               {"output.weight", "64 x 260", "32 x 2"});
}

// Llama 3.x files divide each frequency by a factor of its own; linear scaling divides all by one.
TEST_F(ArchTest, ScalesRopeFrequencies) {
  const std::vector<float> plain = configure({})->ropes[0].inverse_frequencies;
  ASSERT_EQ(plain.size(), 8U);
  EXPECT_FLOAT_EQ(plain[0], 1.0F);
  EXPECT_FLOAT_EQ(plain[4], 0.01F);  // 10000^(-8/16)

  const std::vector<float> factors = {1, 1, 2, 2, 4, 4, 8, 8};
  const auto divided = configure({.more = [&](GgufWriter& w) {
                         w.add_f32("rope_freqs.weight", {8}, factors);
                       }})->ropes[0];
  const auto linear = configure({.more = [](GgufWriter& w) {
                        w.set_string("llama.rope.scaling.type", "linear");
                        w.set_float("llama.rope.scaling.factor", 4);
                      }})->ropes[0];
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_FLOAT_EQ(divided.inverse_frequencies[i], plain[i] / factors[i]);
    EXPECT_FLOAT_EQ(linear.inverse_frequencies[i], plain[i] / 4);
  }
}

// YaRN by hand, for 16 dims, base 10000, factor 4, original context 64: pairs whose wavelength turns more than 32 times in
// 64 positions stay, those that turn less than once are divided by 4. ln(64 / (32 * 2 pi)) < 0, so the ramp begins at pair 0;
// it ends at ceil(16 ln(64 / (2 pi)) / (2 ln 10000)) = ceil(2.016) = 3.
TEST_F(ArchTest, InterpolatesFrequenciesAsYarnDoes) {
  const std::vector<float> plain = configure({})->ropes[0].inverse_frequencies;
  const auto yarn = configure({.more = [](GgufWriter& w) {
                      w.set_string("llama.rope.scaling.type", "yarn");
                      w.set_float("llama.rope.scaling.factor", 4);
                      w.set_int("llama.rope.scaling.original_context_length", 64);
                    }})->ropes[0];
  EXPECT_NEAR(yarn.magnitude, 1.138629436, 1e-6);  // 0.1 ln 4 + 1
  EXPECT_FLOAT_EQ(yarn.inverse_frequencies[0], plain[0]);
  EXPECT_FLOAT_EQ(yarn.inverse_frequencies[1],
                  plain[1] * (2.0F / 3 + 1.0F / 12));  // a third of the way
  EXPECT_FLOAT_EQ(yarn.inverse_frequencies[2], plain[2] * (1.0F / 3 + 2.0F / 12));
  for (size_t i = 3; i < plain.size(); ++i) {
    EXPECT_FLOAT_EQ(yarn.inverse_frequencies[i], plain[i] / 4);
  }
}

// Files often name only the token that ends a document as their EOS; for BitNet's, known to be wrong, a notice says so.
TEST_F(ArchTest, ActivationsAreThoseOfTheTraining) {
  const auto ternary = [](GgufWriter& w) {
    w.add_tensor("blk.0.some.weight", 35, {256, 1}, testing::ByteVector(66));  // TQ2_0
  };
  EXPECT_EQ(configure({})->activations, Activations::kInt8);
  EXPECT_EQ(configure({.more = ternary})->activations, Activations::kInt16);
  EXPECT_EQ(configure({.name = "Falcon3 1B Instruct 1.58bit", .more = ternary})->activations,
            Activations::kInt8);
  EXPECT_EQ(configure({.architecture = "bitnet", .sub_norms = true, .more = ternary})->activations,
            Activations::kInt8);
}

TEST_F(ArchTest, StopsOnEveryTokenThatEndsATurn) {
  for (const char* architecture : {"llama", "bitnet-b1.58"}) {
    const bool bitnet = std::string(architecture) != "llama";
    FileSpec spec{.architecture = architecture, .sub_norms = bitnet};
    spec.more = [](GgufWriter& w) {
      w.set_int("tokenizer.ggml.eos_token_id", kEndOfText);
      w.set_int("tokenizer.ggml.unknown_token_id", 0);  // for the bytes that it has no token for
    };
    const auto path = folder_ / "model.gguf";
    make_file(spec).save(path);
    LoadOptions options;
    options.compute.kernels = &testing::tested_table();
    const auto model = Model::load(path, options);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ((*model)->stop_tokens(), (std::vector<TokenId>{kEndOfText, kEndOfTurn}));
    ASSERT_EQ((*model)->notices().size(), bitnet ? 1U : 0U);
    if (bitnet) {
      expect_words((*model)->notices()[0], {"<|end_of_text|>", "<|eot_id|>", "both stop it"});
    }
  }
}

}  // namespace
}  // namespace tern
