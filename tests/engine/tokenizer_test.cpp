// Tokenizers against ids that other programs gave for the same vocabularies
// (tests/golden/tokenizers).

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "engine/model/tokenizer.h"
#include "engine/model/tokenizer_pre.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizer_files.h"

namespace tern {
namespace {

const std::filesystem::path kGolden = testing::source_path("tests/golden/tokenizers");

nlohmann::json golden(const std::string& name) {
  std::ifstream in(kGolden / name);
  return nlohmann::json::parse(in);
}

Tokenizer from_data(const testing::OwnedTokenizerData& data) {
  auto made = Tokenizer::from_data(data.view());
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return std::move(*made);
}

Tokenizer own_bpe(std::string_view pre) {
  return from_data(testing::load_own_bpe(kGolden / "tern-bpe.json", pre));
}

Tokenizer own_spm(bool space_prefix) {
  return from_data(testing::load_own_spm(kGolden / "tern-spm.json", space_prefix));
}

constexpr EncodeOptions kNoBos{.add_special = false, .parse_special = true};

// Expects the ids of every text; a null stands for a text that the other program cannot judge.
int expect_ids(const Tokenizer& tokenizer, const nlohmann::json& texts, const nlohmann::json& ids,
               const EncodeOptions& options = kNoBos) {
  EXPECT_EQ(texts.size(), ids.size());
  int judged = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!ids[i].is_null()) {
      EXPECT_EQ(tokenizer.encode(texts[i].get<std::string>(), options),
                ids[i].get<std::vector<TokenId>>())
          << tokenizer.family() << ", text " << i << ": " << texts[i];
      ++judged;
    }
  }
  return judged;
}

class PreTokenizerFamily : public ::testing::TestWithParam<const char*> {};

TEST_P(PreTokenizerFamily, GivesTheIdsOfHuggingFace) {
  const std::string name = GetParam();
  EXPECT_EQ(expect_ids(own_bpe(name), golden("texts.json"), golden("ids-" + name + ".json")), 323);
}

TEST_P(PreTokenizerFamily, DecodesToTheBytesThatWereEncoded) {
  const Tokenizer tokenizer = own_bpe(GetParam());
  const bool folds = PreTokenizer::named(GetParam())->folds_to_nfc();
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 60, '\0');
    for (char& c : text) {
      // Bytes of every kind, many spaces, quotes and digits; ASCII only where other text may be
      // composed.
      const auto byte = static_cast<char>(random() % (folds ? 128 : 256));
      c = random() % 2 == 0 ? " \n'3a\r"[random() % 6] : byte;
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, kNoBos), true), text);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PreTokenizerFamily,
                         ::testing::Values("llama-bpe", "qwen2", "qwen35", "gpt-2", "mpt", "falcon",
                                           "starcoder", "command-r", "hunyuan-dense", "default"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

class Excerpt : public ::testing::TestWithParam<const char*> {};

// Parts of published vocabularies, with their own ids: the 47 cases of llama.cpp's vocabulary
// tests.
TEST_P(Excerpt, GivesTheIdsOfLlamaCpp) {
  const std::string file = std::string("excerpt-") + GetParam() + ".json";
  const nlohmann::json expected = golden(file);
  const Tokenizer tokenizer = from_data(testing::load_excerpt(kGolden / file));
  EXPECT_EQ(expect_ids(tokenizer, expected["texts"], expected["ids"]), 47);
}

INSTANTIATE_TEST_SUITE_P(All, Excerpt, ::testing::Values("gpt-2", "mpt", "falcon", "qwen2"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Spm, GivesTheIdsOfSentencePiece) {
  const nlohmann::json texts = golden("texts.json");
  const nlohmann::json expected = golden("tern-spm.json");
  const EncodeOptions plain{.add_special = false, .parse_special = false};
  EXPECT_GT(expect_ids(own_spm(true), texts, expected["prefix"], plain), 250);
  EXPECT_GT(expect_ids(own_spm(false), texts, expected["no_prefix"], plain), 300);
}

// How programs write a vocabulary of Gemma's kind into GGUF files.
enum class GemmaFile {
  kPieces,  // llama.cpp's converter, from SentencePiece's own file
  kSpaces,  // llama.cpp's converter, from Hugging Face's: symbols of spaces are spelled with spaces
  kRanks,  // BitNet's converter of bitnet-embedding-270m: scores are ranks of merges, symbols come last
  kGpt2OfMerges  // its first version: byte-level BPE is claimed, bytes are typed as text
};

testing::OwnedTokenizerData gemma_data(GemmaFile form) {
  const nlohmann::json file = golden("gemma-spm.json");
  testing::OwnedTokenizerData data = testing::load_own_spm(kGolden / "gemma-spm.json", false);
  data.rest.bos = 2;
  data.rest.eos = 1;
  data.rest.unknown = 3;
  std::map<std::string, double> rank_of;
  for (const auto& merge : file.at("merges")) {
    const auto text = merge.get<std::string>();
    std::string piece = text;
    piece.erase(piece.find(' '), 1);
    rank_of.emplace(piece, static_cast<double>(rank_of.size()));
    if (form == GemmaFile::kGpt2OfMerges) {
      data.add_merge(text);
    }
  }
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const auto type = static_cast<TokenType>(data.types[id]);
    const std::string spelling(data.tokens[id]);
    if (form == GemmaFile::kSpaces && type == TokenType::kUserDefined &&
        spelling.starts_with("\u2581")) {
      data.set_token(id, std::string(spelling.size() / 3, ' '), type);
    } else if (form == GemmaFile::kRanks && type != TokenType::kByte) {
      const bool added = type != TokenType::kNormal;
      const auto rank = rank_of.find(spelling);
      data.set_token(id, spelling, type == TokenType::kUnknown ? TokenType::kControl : type,
                     added                   ? -1000.0
                     : rank == rank_of.end() ? 0.0
                                             : -rank->second);
    } else if (form == GemmaFile::kGpt2OfMerges && type == TokenType::kByte) {
      data.set_token(id, spelling, TokenType::kNormal);
    }
  }
  if (form == GemmaFile::kGpt2OfMerges) {
    data.model = "gpt2";
    data.scores.clear();
    data.rest.add_space_prefix.reset();
  }
  return data;
}

TEST(Spm, GemmasVocabularyGivesTheIdsOfTransformersHoweverAFileWritesIt) {
  const EncodeOptions plain{.add_special = false, .parse_special = false};
  for (const GemmaFile form :
       {GemmaFile::kPieces, GemmaFile::kSpaces, GemmaFile::kRanks, GemmaFile::kGpt2OfMerges}) {
    SCOPED_TRACE(static_cast<int>(form));
    const Tokenizer tokenizer = from_data(gemma_data(form));
    const nlohmann::json texts = golden("texts.json");
    const nlohmann::json ids = golden("gemma-spm.json")["ids"];
    EXPECT_EQ(expect_ids(tokenizer, texts, ids, plain), 322);
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      if (!ids[i].is_null() && text.find("\u2581") == text.npos) {
        EXPECT_EQ(tokenizer.decode(ids[i].get<std::vector<TokenId>>()), text);
      }
    }
    EXPECT_EQ(tokenizer.notices().size(), form == GemmaFile::kGpt2OfMerges ? 1U : 0U);
  }
}

TEST(Spm, MergesInThePlaceOfScoresAreToldOfAndChecked) {
  testing::OwnedTokenizerData data = gemma_data(GemmaFile::kGpt2OfMerges);
  EXPECT_NE(from_data(data).notices().at(0).find("the file says gpt2"), std::string::npos);
  data.add_merge("nospace");
  EXPECT_FALSE(Tokenizer::from_data(data.view()));
}

TEST(Spm, DecodesToTheBytesThatWereEncoded) {
  std::mt19937 random(11);
  for (const bool prefix : {true, false}) {
    const Tokenizer tokenizer = own_spm(prefix);
    for (int round = 0; round < 300; ++round) {
      std::string text(random() % 60, '\0');
      for (char& c : text) {
        c = random() % 2 == 0 ? " \n'3ae"[random() % 6] : static_cast<char>(random() % 256);
      }
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, kNoBos), true), text);
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(" a<|eot|> b<tool>  c", kNoBos), true),
              " a<|eot|> b<tool>  c");
  }
}

TEST(Spm, PiecesMayReachIntoTheNextWord) {
  auto data = testing::load_own_spm(kGolden / "tern-spm.json", true);
  const auto joined = static_cast<TokenId>(data.tokens.size());
  data.set_token(data.tokens.size(), "x▁y", TokenType::kNormal, 1);
  data.set_token(data.tokens.size(), "x▁", TokenType::kNormal, 2);
  const auto ids = from_data(data).encode("x y", kNoBos);
  EXPECT_EQ(std::ranges::count(ids, joined), 1);
}

TEST(Special, IsTextUnlessAskedFor) {
  const Tokenizer tokenizer = own_bpe("gpt-2");
  const TokenId eot = tokenizer.find("<|eot|>");
  const TokenId tool = tokenizer.find("<tool>");
  ASSERT_GE(eot, 0);
  ASSERT_GE(tool, 0);
  EXPECT_EQ(tokenizer.encode("<|eot|><tool>", kNoBos), (std::vector{eot, tool}));
  const auto plain =
      tokenizer.encode("<|eot|><tool>", {.add_special = false, .parse_special = false});
  EXPECT_EQ(std::ranges::count(plain, eot), 0);
  EXPECT_EQ(plain.back(), tool) << "the user's own tokens are never text";
  EXPECT_EQ(tokenizer.decode(plain), "<|eot|><tool>");
  EXPECT_EQ(tokenizer.decode({eot, tool}), "<tool>") << "control tokens are not text";
  EXPECT_EQ(tokenizer.decode({eot, tool}, true), "<|eot|><tool>");
  EXPECT_TRUE(tokenizer.is_control(eot));
  EXPECT_FALSE(tokenizer.is_control(tool));
}

TEST(Special, LongestOfTheLeftmostWins) {
  const Tokenizer tokenizer = own_bpe("gpt-2");
  EXPECT_EQ(tokenizer.encode("<|eot|><|end|><|eot|>", kNoBos),
            (std::vector{tokenizer.find("<|eot|><|end|>"), tokenizer.find("<|eot|>")}));
}

TEST(Special, BosAndEosFollowTheFileThenTheFamily) {
  auto data = testing::load_own_bpe(kGolden / "tern-bpe.json", "llama-bpe");
  const Tokenizer without = from_data(data);
  EXPECT_EQ(without.bos(), -1);
  const TokenId bos = without.find("<|bos|>");
  const TokenId eos = without.find("<|eos|>");
  const auto hi = without.encode("hi");
  data.rest.bos = bos;
  data.rest.eos = eos;
  EXPECT_EQ(from_data(data).encode("hi").front(), bos) << "llama-bpe puts BOS unless told";
  EXPECT_EQ(from_data(data).encode("hi", kNoBos), hi);
  EXPECT_EQ(from_data(data).encode(""), std::vector{bos});
  data.pre = "gpt-2";
  EXPECT_EQ(from_data(data).encode("hi"), hi) << "gpt-2 does not";
  data.rest.add_bos = true;
  data.rest.add_eos = true;
  const auto both = from_data(data).encode("hi");
  EXPECT_EQ(both.front(), bos);
  EXPECT_EQ(both.back(), eos);
  EXPECT_EQ(both.size(), hi.size() + 2);

  auto spm = testing::load_own_spm(kGolden / "tern-spm.json", true);
  EXPECT_EQ(from_data(spm).encode("hi").front(), 1) << "SentencePiece's BOS, by default";
  spm.rest.add_bos = false;
  EXPECT_NE(from_data(spm).encode("hi").front(), 1);
}

TEST(Special, IdsOutsideTheVocabularyAreIgnoredWithANotice) {
  auto data = testing::load_own_bpe(kGolden / "tern-bpe.json", "gpt-2");
  data.rest.bos = 1'000'000;
  data.rest.eos = -2;
  data.rest.unknown = 0xFFFFFFFF;  // how a file says "none"
  const Tokenizer tokenizer = from_data(data);
  EXPECT_EQ(tokenizer.bos(), -1);
  EXPECT_EQ(tokenizer.eos(), -1);
  ASSERT_EQ(tokenizer.notices().size(), 2u);
  EXPECT_NE(tokenizer.notices()[0].find("bos_token_id is 1000000"), std::string::npos);
}

TEST(Family, IsGuessedWhereTheFileNamesNone) {
  testing::OwnedTokenizerData data;
  data.model = "gpt2";
  data.rest.add_bos = false;  // it lacks nothing that it declares
  data.rest.unknown = 0;
  data.set_token(128255, "last", TokenType::kNormal);
  const Tokenizer llama3 = from_data(data);
  EXPECT_EQ(llama3.family(), "bpe (llama-bpe)");
  ASSERT_EQ(llama3.notices().size(), 1u);
  EXPECT_NE(llama3.notices()[0].find("tokenizer.ggml.pre"), std::string::npos);
  data.set_token(128256, "one more", TokenType::kNormal);
  EXPECT_EQ(from_data(data).family(), "bpe (default)");
  data.pre = "falcon3";
  EXPECT_EQ(from_data(data).family(), "bpe (falcon3)");
  EXPECT_TRUE(from_data(data).notices().empty());
}

std::string error_of(const testing::OwnedTokenizerData& data) {
  const auto made = Tokenizer::from_data(data.view());
  return made ? "no error" : made.error().message;
}

TEST(Errors, NameTheKeyAndWhatIsWrong) {
  const auto bpe = testing::load_own_bpe(kGolden / "tern-bpe.json", "gpt-2");
  auto data = bpe;
  data.pre = "no-such";
  EXPECT_NE(error_of(data).find("tokenizer.ggml.pre"), std::string::npos);
  EXPECT_NE(error_of(data).find("no-such"), std::string::npos);
  EXPECT_NE(error_of(data).find("llama-bpe"), std::string::npos) << "it lists the known ones";
  data = bpe;
  data.model = "rwkv";
  EXPECT_NE(error_of(data).find("found \"rwkv\""), std::string::npos);
  data = bpe;
  data.types.pop_back();
  EXPECT_NE(error_of(data).find("tokenizer.ggml.token_type"), std::string::npos);
  data = bpe;
  data.add_merge("nospace");
  EXPECT_NE(error_of(data).find("tokenizer.ggml.merges[" + std::to_string(bpe.merges.size())),
            std::string::npos);
  data = testing::load_own_spm(kGolden / "tern-spm.json", true);
  data.scores.clear();
  EXPECT_NE(error_of(data).find("tokenizer.ggml.scores"), std::string::npos);
  EXPECT_NE(error_of({}).find("tokenizer.ggml.tokens"), std::string::npos);
}

TEST(FromFile, ReadsWhatTheKeysSay) {
  const auto data = testing::load_own_bpe(kGolden / "tern-bpe.json", "qwen2");
  const auto eot = static_cast<int64_t>(from_data(data).find("<|eot|>"));
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "qwen3");
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "qwen2");
  writer.set_strings("tokenizer.ggml.tokens", {data.tokens.begin(), data.tokens.end()});
  writer.set_ints("tokenizer.ggml.token_type", data.types);
  writer.set_strings("tokenizer.ggml.merges", {data.merges.begin(), data.merges.end()});
  writer.set_int("tokenizer.ggml.eos_token_id", eot);
  writer.set_bool("tokenizer.ggml.add_eos_token", true);
  const testing::TempFolder folder;
  const auto path = folder / "a.gguf";
  writer.save(path);
  std::optional<Tokenizer> tokenizer;
  {
    const auto file = TensorFile::open(path);
    ASSERT_TRUE(file) << file.error().message;
    auto made = Tokenizer::from_file(*file);
    ASSERT_TRUE(made) << made.error().message;
    tokenizer.emplace(std::move(*made));
  }  // the tokenizer needs the file no longer
  EXPECT_EQ(tokenizer->encode("").back(), eot);
  EXPECT_EQ(expect_ids(*tokenizer, golden("texts.json"), golden("ids-qwen2.json")), 323);
}

TEST(FromFile, WithoutATokenizerIsAnError) {
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "llama");
  const testing::TempFolder folder;
  const auto path = folder / "none.gguf";
  writer.save(path);
  const auto file = TensorFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto made = Tokenizer::from_file(*file);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("none.gguf: tokenizer.ggml.model"), std::string::npos);
}

// Long runs of one kind are where careless merging or backtracking is quadratic: at a million bytes
// that would be hours.
TEST(Length, MillionsOfBytesOfOneKindAreEncoded) {
  constexpr size_t kBytes = 1 << 20;
  const std::vector<Tokenizer> all = [] {
    std::vector<Tokenizer> list;
    for (const char* pre : {"llama-bpe", "qwen2", "falcon"}) {  // falcon has gpt-2's expression too
      list.push_back(own_bpe(pre));
    }
    list.push_back(own_spm(true));
    return list;
  }();
  for (const char* unit : {" ", "\n", "a", "7", "'", "!", "<", "\xC3\xA9", "\xE2\x80\x83", "\xFF",
                           " \n", "a ", "e\xCC\x81", "\xCC\x81", "\xCC\x81\xCC\x96"}) {
    std::string text;
    while (text.size() < kBytes) {
      text += unit;
    }
    text += 'x';  // nothing that was hoped for comes
    for (const Tokenizer& tokenizer : all) {
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer.encode(text, kNoBos);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_GE(ids.size(), kBytes / 70) << "no token is longer";
      EXPECT_LT(seconds.count(), 60) << tokenizer.family() << ", of \"" << unit << '"';
    }
  }
}

// Whatever the text holds, the pieces make it up again.
TEST(PreTokenizer, PiecesAreTheText) {
  std::mt19937 random(3);
  for (const char* name : {"llama-bpe", "qwen2", "gpt-2", "falcon", "starcoder", "default"}) {
    const auto pre = PreTokenizer::named(name);
    ASSERT_TRUE(pre);
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 40, '\0');
      for (char& c : text) {
        c = static_cast<char>(random() % 256);
      }
      std::string joined;
      for (const std::string_view piece : pre->split(text)) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text);
    }
  }
}

TEST(StreamDecoder, PassesWholeCharactersHoweverTheyAreCut) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x99 z\xF4\x8F\xBF\xBF";
  for (size_t step = 1; step <= text.size(); ++step) {
    StreamDecoder decoder;
    std::string out;
    for (size_t i = 0; i < text.size(); i += step) {
      const std::string part = decoder.push(text.substr(i, step));
      StreamDecoder whole;  // what came out must be valid by itself
      EXPECT_EQ(whole.push(part) + whole.finish(), part);
      out += part;
    }
    EXPECT_EQ(out + decoder.finish(), text);
  }
}

// Expected by Python: bytes.decode("utf-8", "replace").
TEST(StreamDecoder, ReplacesWhatIsNotUtf8) {
  const std::pair<std::string, std::string> cases[] = {
      {"\xFF", "\uFFFD"},
      {"a\x80z", "a\uFFFDz"},
      {"\xE2\x82", "\uFFFD"},    // unfinished at the end
      {"\xE2\x82z", "\uFFFDz"},  // unfinished before another
      {"\xF0\x9F\xA6z", "\uFFFDz"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},                      // overlong
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},            // overlong
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // a surrogate
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
      {"\xC3\xC3\xA9", "\uFFFD\xC3\xA9"},
      {std::string("\0", 1), std::string("\0", 1)},
  };
  for (const auto& [bytes, expected] : cases) {
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      StreamDecoder decoder;
      std::string out = decoder.push(bytes.substr(0, cut));
      out += decoder.push(bytes.substr(cut));
      EXPECT_EQ(out + decoder.finish(), expected) << "cut at " << cut;
    }
  }
}

}  // namespace
}  // namespace tern
