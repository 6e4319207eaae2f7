// The runtime against logits that others computed: transformers (tests/golden/models) and the slow model of this repository.
//
// What can be demanded: a dense model repeats transformers' logits up to the rounding of its F16 cache. In a ternary model a
// last bit that differs can move an int8 activation by one, a step of 1/127 of the largest, at one position and, through its
// keys and values, at those after it; the manifest measures how far that carries (`jitter`: up to 1e-2). About one position in
// a hundred of these models has such an activation; which, depends on the order of every float sum.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "engine/arch/arch.h"
#include "engine/model/tokenizer.h"
#include "engine/run/decoder.h"
#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/slow_model.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

const std::filesystem::path kFolder = testing::source_path("tests/golden/models");

struct Golden {
  std::string name;
  std::filesystem::path file;
  bool ternary = false;
  std::vector<float> logits;
  std::vector<float> half_kv_logits;  // as an F16 cache makes them; ternary models only
  std::vector<float>
      float_logits;  // without rounding of activations; ternary models that were not trained with it
};

struct Goldens {
  std::string text;
  std::vector<int32_t> tokens;
  size_t vocab = 0;
  std::vector<Golden> models;
};

std::vector<float> read_floats(const std::string& name, size_t count) {
  std::vector<float> values(count);
  std::ifstream in(kFolder / name, std::ios::binary);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(count * sizeof(float)));
  if (!in || in.peek() != EOF) {
    throw std::runtime_error(name + " does not hold " + std::to_string(count) + " floats");
  }
  return values;
}

Goldens read_goldens() {
  const auto manifest = nlohmann::json::parse(std::ifstream(kFolder / "manifest.json"));
  Goldens goldens{manifest["text"], manifest["tokens"], manifest["vocabulary"], {}};
  const size_t count = goldens.tokens.size() * goldens.vocab;
  for (const auto& entry : manifest["models"]) {
    Golden golden{entry["name"],
                  kFolder / entry["file"].get<std::string>(),
                  entry["class"] == "ternary",
                  read_floats(entry["logits"], count),
                  {},
                  {}};
    if (golden.ternary) {
      golden.half_kv_logits = read_floats(entry["half_kv_logits"], count);
      if (entry.contains("float_logits")) {
        golden.float_logits = read_floats(entry["float_logits"], count);
      }
    }
    goldens.models.push_back(std::move(golden));
  }
  return goldens;
}

const Goldens& goldens() {
  static const Goldens kGoldens = read_goldens();
  return kGoldens;
}

class GoldenModel : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const char* isa = std::getenv("TERN_ISA");
    table_ = isa == nullptr ? &best_table() : find_table(isa);
    if (table_ == nullptr) {
      GTEST_SKIP() << "this CPU cannot run the table " << isa;
    }
    file_.emplace(TensorFile::open(golden().file).value());
  }
  const Golden& golden() const { return goldens().models[GetParam()]; }
  std::vector<float> run(int32_t batch, int threads = 1,
                         const std::vector<int32_t>& tokens = goldens().tokens,
                         Activations activations = Activations::kInt8) {
    return testing::DecoderRunner(*file_, *table_, threads, activations).logits(tokens, batch);
  }
  static std::vector<int32_t> long_text() {
    std::vector<int32_t> tokens;
    while (tokens.size() < 80) {
      tokens.insert(tokens.end(), goldens().tokens.begin(), goldens().tokens.end());
    }
    return tokens;
  }

  // Dense: within float rounding (a key may round to the next half). Ternary: within what a few moved activations do.
  template <class Truth>
  void expect_close(const std::vector<float>& logits, const Truth& truth) const {
    const std::vector<double> each = testing::differences(logits, truth, goldens().vocab);
    EXPECT_LT(each.back(), golden().ternary ? 0.03 : 1e-4);
  }

  const KernelTable* table_ = nullptr;
  std::optional<TensorFile> file_;
};

TEST_P(GoldenModel, PrefillAgreesWithTransformers) {
  const std::vector<float> logits = run(16);
  if (golden().ternary) {
    expect_close(logits, golden().half_kv_logits);
  }
  EXPECT_LT(testing::overall(testing::differences(logits, golden().logits, goldens().vocab)),
            golden().ternary ? 0.04 : 1e-3);
}

// Doubles move no activation by chance, so that the slow model must equal transformers to the last digits of a float wherever
// floats moved none there: at all positions of dense models, and at most of ternary ones.
TEST_P(GoldenModel, TheSlowModelAgreesWithTransformers) {
  const auto differences = [&](testing::SlowCache cache, const std::vector<float>& truth) {
    const std::vector<double> slow = testing::slow_logits(*file_, goldens().tokens, cache);
    return testing::differences(slow, truth, goldens().vocab);
  };
  const std::vector<double> exact = differences(testing::SlowCache::kExact, golden().logits);
  EXPECT_LT(exact[exact.size() / 2], 1e-5);
  EXPECT_LT(exact.back(), golden().ternary ? 0.03 : 1e-5);
  if (golden().ternary) {
    const std::vector<double> half =
        differences(testing::SlowCache::kHalf, golden().half_kv_logits);
    EXPECT_LT(half[half.size() / 2], 1e-5);
    EXPECT_LT(half.back(), 0.03);
  }
}

// Many short texts: a moved activation spoils the rest of its text, but most texts have none and must agree to the last
// digits of a float.
TEST_P(GoldenModel, AgreesWithTheSlowModel) {
  constexpr size_t kLength = 4;
  std::vector<double> worst;
  for (size_t from = 0; from + kLength <= goldens().tokens.size(); ++from) {
    const auto begin = goldens().tokens.begin() + static_cast<std::ptrdiff_t>(from);
    const std::vector<int32_t> text(begin, begin + kLength);
    const std::vector<float> logits = run(kLength, 1, text);
    const std::vector<double> slow = testing::slow_logits(*file_, text);
    expect_close(logits, slow);
    worst.push_back(testing::differences(logits, slow, goldens().vocab).back());
  }
  std::sort(worst.begin(), worst.end());
  EXPECT_LT(worst[worst.size() / 2], 1e-5);
}

// 80 tokens: more than the kernels take in one block.
TEST_P(GoldenModel, DecodingAndSmallBatchesAgreeWithPrefill) {
  const std::vector<float> prefill = run(80, 1, long_text());
  expect_close(run(1, 1, long_text()), prefill);
  expect_close(run(33, 1, long_text()), prefill);
}

// Longer than a segment of attention (256 positions): sums of several are merged, in prompts and token by token.
TEST_P(GoldenModel, LongTextsAgreeWithTheSlowModel) {
  if (golden().ternary) {
    GTEST_SKIP() << "one activation moved by rounding spoils all that follows it";
  }
  std::vector<int32_t> text;
  while (text.size() < 270) {
    text.push_back(goldens().tokens[text.size() * 7 % goldens().tokens.size()]);
  }
  const std::vector<double> slow = testing::slow_logits(*file_, text);
  for (const std::vector<float>& logits : {run(270, 1, text), run(9, 2, text)}) {
    const std::vector<double> each = testing::differences(logits, slow, goldens().vocab);
    EXPECT_LT(each[each.size() / 2], 1e-4);
    EXPECT_LT(each.back(), 2e-3);  // where a key rounded to the next half
  }
}

// Models that were trained with float activations: two int8 rows a token are about as good as floats, one is not.
TEST_P(GoldenModel, ActivationsOf16BitsComeCloseToFloats) {
  if (golden().float_logits.empty()) {
    GTEST_SKIP() << "trained with activations of 8 bits, or not ternary";
  }
  std::vector<std::string> notices;
  EXPECT_EQ(read_config(*file_, notices).value().activations, Activations::kInt16);
  const auto error = [&](Activations activations) {
    const std::vector<float> logits = run(16, 1, goldens().tokens, activations);
    return testing::overall(testing::differences(logits, golden().float_logits, goldens().vocab));
  };
  const double exact = error(Activations::kF32);  // of the F16 cache
  EXPECT_LT(exact, 1e-3);
  EXPECT_LT(error(Activations::kInt16), 1.05 * exact + 2e-5);
  EXPECT_GT(error(Activations::kInt8), 10 * exact);
}

TEST_P(GoldenModel, ThreadsChangeNothing) {
  EXPECT_EQ(run(16, 1), run(16, 3));
  EXPECT_EQ(run(1, 1), run(1, 2));
}

TEST_P(GoldenModel, TextBecomesTheTokens) {
  const Tokenizer tokenizer = std::move(Tokenizer::from_file(*file_)).value();
  EXPECT_EQ(tokenizer.encode(goldens().text), goldens().tokens);
  EXPECT_EQ(tokenizer.decode(goldens().tokens), goldens().text);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, ::testing::Range(size_t{0}, goldens().models.size()),
                         [](const auto& model) {
                           std::string name = goldens().models[model.param].name;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

}  // namespace
}  // namespace tern
