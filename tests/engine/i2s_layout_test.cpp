// The three byte orders of I2_S, told apart by what a trained model makes of a text: the default model's weights, written in each.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "engine/arch/model.h"
#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

using testing::ByteVector;
using Trits = std::vector<int8_t>;
using Encode = ByteVector (*)(const Trits& trits, size_t rows, float scale);

ByteVector encode_128(const Trits& trits, size_t /*rows*/, float scale) {
  return testing::encode_i2s(trits, scale);
}
ByteVector encode_arm64(const Trits& trits, size_t /*rows*/, float scale) {
  return testing::encode_i2s_arm64(trits, scale);
}

class I2sLayouts : public ::testing::Test {
 protected:
  // The default model with its I2_S tensors written anew; all orders have the same size, so the rest of the file stays.
  std::filesystem::path write(const char* name, Encode encode, bool shuffled = false) {
    const std::filesystem::path source = testing::source_path("models/tern-tiny.gguf");
    const TensorFile file = TensorFile::open(source).value();
    std::filesystem::path path = folder_ / name;
    std::filesystem::copy_file(source, path);
    std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
    std::mt19937 random(7);
    for (const Tensor& tensor : file.tensors()) {
      if (tensor.format->name != "I2_S") {
        continue;
      }
      Trits trits(static_cast<size_t>(tensor.count()));
      float scale = 0;
      EXPECT_TRUE(tensor.format->unpack(tensor.data, tensor.rows(), tensor.cols(), 0, tensor.rows(),
                                        trits.data(), &scale));
      if (shuffled) {
        std::shuffle(trits.begin(), trits.end(), random);
      }
      const ByteVector data = encode(trits, static_cast<size_t>(tensor.rows()), scale);
      EXPECT_EQ(data.size(), tensor.data.size());
      out.seekp(tensor.data.data() - file.files()[0].bytes().data());
      out.write(reinterpret_cast<const char*>(data.data()),
                static_cast<std::streamsize>(data.size()));
      ++written_;
    }
    return path;
  }

  static std::shared_ptr<const Model> load(const std::filesystem::path& path,
                                           std::optional<I2sLayout> layout) {
    LoadOptions options;
    options.compute = Compute{&testing::tested_table(), 1};
    options.i2s_layout = layout;
    return Model::load(path, options).value();
  }

  // Names the layout, or nothing.
  static std::string layout_notice(const Model& model) {
    for (const std::string& notice : model.notices()) {
      if (notice.find("I2_S weights read in the layout") != std::string::npos) {
        return notice;
      }
    }
    return "";
  }

  static std::vector<float> logits(const Model& model) {
    const std::vector<TokenId> tokens = model.tokenizer().encode("The cat sat on the mat.");
    const auto count = static_cast<int32_t>(tokens.size());
    const Compute compute{&model.kernels(), 1};
    KvCache cache(model.config(), count);
    Workspace workspace(model.config(), model.decoder(), compute, cache, count);
    decoder_forward(model.config(), model.decoder(), compute, cache, workspace, tokens, 0,
                    [] { return true; });
    const std::span<const float> last =
        decoder_logits(model.config(), model.decoder(), compute, workspace, count - 1, 1);
    return {last.begin(), last.end()};
  }

  testing::TempFolder folder_;
  int written_ = 0;
};

TEST_F(I2sLayouts, AutoFindsEachAndComputesTheSame) {
  const std::vector<float> truth =
      logits(*load(testing::source_path("models/tern-tiny.gguf"), I2sLayout::k128));
  const std::tuple<const char*, Encode, I2sLayout> cases[] = {
      {"128", encode_128, I2sLayout::k128},
      {"arm64", encode_arm64, I2sLayout::kArm64},
      {"1x4", testing::encode_i2s_1x4, I2sLayout::k1x4}};
  for (const auto& [name, encode, layout] : cases) {
    const std::filesystem::path path = write(name, encode);
    ASSERT_GT(written_, 0);
    const auto found = load(path, std::nullopt);
    EXPECT_EQ(logits(*found), truth) << name;
    EXPECT_EQ(logits(*load(path, layout)), truth) << name;
    if (layout == I2sLayout::k128) {
      EXPECT_EQ(layout_notice(*found), "");
    } else {
      EXPECT_NE(layout_notice(*found).find(std::string("layout ") + name), std::string::npos)
          << layout_notice(*found);
      EXPECT_NE(logits(*load(path, I2sLayout::k128)), truth) << name;
    }
  }
}

TEST_F(I2sLayouts, RandomWeightsKeepThePublishedLayout) {
  const std::filesystem::path path = write("random", encode_128, /*shuffled=*/true);
  const auto found = load(path, std::nullopt);
  EXPECT_EQ(logits(*found), logits(*load(path, I2sLayout::k128)));
  EXPECT_NE(layout_notice(*found).find("read in the layout of published files"), std::string::npos)
      << layout_notice(*found);
  EXPECT_EQ(layout_notice(*load(path, I2sLayout::k128)), "") << "forced: nothing was tried";
}

}  // namespace
}  // namespace tern
