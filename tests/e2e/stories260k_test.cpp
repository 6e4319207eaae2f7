// A real trained model, converted by tools/convert_llama2c.py: the runtime must continue "Once upon a time" with the tokens
// that a forward pass in numpy, straight from the checkpoint, chose (tests/golden/stories260k).

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/model/tokenizer.h"
#include "kernels/select.h"
#include "tests/support/data_folder.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

std::string quoted(const std::filesystem::path& path) {
  return "'" + path.string() + "'";
}

TEST(Stories260k, ContinuesOnceUponATime) {
  TERN_NEEDS_DATA(checkpoint, "weights/stories260K.bin");
  TERN_NEEDS_DATA(vocabulary, "weights/stories260K_tok512.bin");
  const char* isa = std::getenv("TERN_ISA");
  const KernelTable* table = isa == nullptr ? &best_table() : find_table(isa);
  if (table == nullptr) {
    GTEST_SKIP() << "this CPU cannot run the table " << isa;
  }
  const std::filesystem::path converted = std::filesystem::path(::testing::TempDir()) /
                                          ("stories260K." + std::string(table->name) + ".gguf");
  const std::string command =
      "python3 " + quoted(testing::source_path("tools/convert_llama2c.py")) + " " +
      quoted(checkpoint) + " " + quoted(vocabulary) + " " + quoted(converted);
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const TensorFile file = std::move(TensorFile::open(converted)).value();
  std::filesystem::remove(converted);

  const std::filesystem::path folder = testing::source_path("tests/golden/stories260k");
  const auto golden = nlohmann::json::parse(std::ifstream(folder / "golden.json"));
  const Tokenizer tokenizer = std::move(Tokenizer::from_file(file)).value();
  std::vector<int32_t> tokens = tokenizer.encode(golden["prompt"].get<std::string>());
  EXPECT_EQ(tokens, golden["prompt_tokens"].get<std::vector<int32_t>>());
  const size_t prompt = tokens.size();
  const std::vector<int32_t> continuation = golden["continuation"];
  tokens.insert(tokens.end(), continuation.begin(), continuation.end());
  EXPECT_EQ(tokenizer.decode(tokens), golden["text"].get<std::string>());

  testing::DecoderRunner runner(file, *table, 1);
  for (const int32_t batch : {128, 1}) {
    const std::vector<float> logits = runner.logits(tokens, batch);
    const size_t vocab = logits.size() / tokens.size();
    // The best token after every token of the golden text is the next: so greedy decoding gives this very text.
    for (size_t i = prompt - 1; i + 1 < tokens.size(); ++i) {
      const auto row = logits.begin() + static_cast<int64_t>(i * vocab);
      const auto best = std::max_element(row, row + static_cast<int64_t>(vocab)) - row;
      ASSERT_EQ(best, tokens[i + 1]) << "after token " << i << ", batch " << batch;
    }
    std::vector<float> truth(prompt * vocab);
    std::ifstream in(folder / "prompt.f32", std::ios::binary);
    in.read(reinterpret_cast<char*>(truth.data()),
            static_cast<std::streamsize>(truth.size() * sizeof(float)));
    ASSERT_TRUE(in);
    EXPECT_LT(testing::overall(testing::differences(logits, truth, vocab)), 1e-3);
  }
}

}  // namespace
}  // namespace tern
