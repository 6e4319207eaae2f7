// What `tern tokenize` prints, for a small vocabulary.

#include <gtest/gtest.h>

#include "tests/support/tokenizer_files.h"
#include "tools/tokenize_report.h"

namespace tern::cli {
namespace {

TEST(TokenizeReport, PrintsEachStyle) {
  testing::OwnedTokenizerData data;
  data.model = "gpt2";
  data.pre = "gpt-2";
  data.set_token(0, "H", TokenType::kNormal);
  data.set_token(1, "i", TokenType::kNormal);
  data.set_token(2, "Hi", TokenType::kNormal);
  data.set_token(3, "\u010A", TokenType::kNormal);  // newline, as byte-level BPE spells it
  data.set_token(4, "\u00C3", TokenType::kNormal);  // byte 0xC3
  data.set_token(5, "<end>", TokenType::kControl);
  data.set_token(123456, "\u00A9", TokenType::kNormal);  // byte 0xA9
  data.add_merge("H i");
  const auto tokenizer = Tokenizer::from_data(data.view());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto ids = tokenizer->encode("Hi\n\xC3\xA9<end>");
  EXPECT_EQ(tokenize_report(*tokenizer, ids, TokenStyle::kIds), "2 3 4 123456 5\n");
  EXPECT_EQ(
      tokenize_report(*tokenizer, ids, TokenStyle::kPieces),
      "     2 -> 'Hi'\n     3 -> '\\n'\n     4 -> '\\xC3'\n123456 -> '\\xA9'\n     5 -> '<end>'\n");
  EXPECT_EQ(tokenize_report(*tokenizer, ids, TokenStyle::kJson),
            R"([{"id":2,"piece":"Hi"},{"id":3,"piece":"\n"},{"id":4,"piece":[195]},)"
            R"({"id":123456,"piece":[169]},{"id":5,"piece":"<end>"}])"
            "\n");
  EXPECT_EQ(tokenize_report(*tokenizer, {}, TokenStyle::kIds), "\n");
  EXPECT_EQ(tokenize_report(*tokenizer, {}, TokenStyle::kJson), "[]\n");
}

}  // namespace
}  // namespace tern::cli
