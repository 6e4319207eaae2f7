// Which tokens begin a text and a chat, and which end a turn, for every published family (tests/golden/published/chats.json): from a
// file's keys to what a completion reads and where it stops.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/session/local_completer.h"
#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

using Json = nlohmann::json;
using testing::GgufWriter;

constexpr int32_t kWidth = 64;
constexpr int32_t kFfn = 96;

void set_key(GgufWriter& writer, const std::string& key, const Json& value) {
  if (value.is_boolean()) {
    writer.set_bool(key, value);
  } else if (value.is_number()) {
    writer.set_int(key, value);
  } else if (value.is_string()) {
    writer.set_string(key, value.get<std::string>());
  } else if (value.at(0).is_string()) {
    writer.set_strings(key, value);
  } else if (value.at(0).is_number_float()) {
    writer.set_floats(key, value);
  } else {
    writer.set_ints(key, value);
  }
}

// A model whose layers add nothing, so that a token says which one follows: `chain` is the order. Without a chain it has no head of
// its own, as the common form of the 2B-4T file.
class ChainModel {
 public:
  ChainModel(const Json& keys, const std::vector<TokenId>& chain) {
    const std::string a = keys.at("general.architecture");
    for (const auto& [key, value] : keys.items()) {
      set_key(writer_, key, value);
    }
    const std::pair<const char*, int64_t> sizes[] = {
        {".block_count", 1},          {".embedding_length", kWidth},
        {".context_length", 256},     {".feed_forward_length", kFfn},
        {".attention.head_count", 4}, {".attention.head_count_kv", 2}};
    for (const auto& [key, value] : sizes) {
      writer_.set_int(a + key, value);
    }
    writer_.set_float(a + ".attention.layer_norm_rms_epsilon", 1e-6);
    add_embedding(static_cast<int32_t>(keys.at("tokenizer.ggml.tokens").size()), chain);
    const bool bitnet = a.starts_with("bitnet");
    const bool qk_norms = a == "qwen3" || a == "hunyuan-dense";
    const std::tuple<const char*, int32_t, int32_t, bool> matrices[] = {
        {"attn_norm", kWidth, 1, true},       {"ffn_norm", kWidth, 1, true},
        {"attn_sub_norm", kWidth, 1, bitnet}, {"ffn_sub_norm", kFfn, 1, bitnet},
        {"attn_q_norm", 16, 1, qk_norms},     {"attn_k_norm", 16, 1, qk_norms},
        {"attn_q", kWidth, kWidth, true},     {"attn_k", kWidth, kWidth / 2, true},
        {"attn_v", kWidth, kWidth / 2, true}, {"attn_output", kWidth, kWidth, true},
        {"ffn_gate", kWidth, kFfn, true},     {"ffn_up", kWidth, kFfn, true},
        {"ffn_down", kFfn, kWidth, true}};
    for (const auto& [name, cols, rows, present] : matrices) {
      if (present) {
        add("blk.0." + std::string(name), cols, rows,
            std::vector<float>(static_cast<size_t>(cols * rows)));
      }
    }
    add("output_norm", kWidth, 1, std::vector<float>(kWidth, 1.0F));
  }

  void save(const std::filesystem::path& path) const { writer_.save(path); }

 private:
  void add(const std::string& stem, int32_t cols, int32_t rows, const std::vector<float>& values) {
    std::vector<uint64_t> shape{static_cast<uint64_t>(cols)};
    if (rows > 1) {
      shape.push_back(static_cast<uint64_t>(rows));
    }
    writer_.add_f32(stem + ".weight", shape, values);
  }

  // Random signs: the product of two rows is far below that of one with itself.
  void add_embedding(int32_t vocab, const std::vector<TokenId>& chain) {
    std::mt19937 random(5);
    std::vector<float> table(static_cast<size_t>(vocab * kWidth));
    std::ranges::generate(table, [&] { return random() % 2 == 0 ? 1.0F : -1.0F; });
    add("token_embd", kWidth, vocab, table);
    std::vector<float> head(table.size());
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      std::copy_n(table.begin() + chain[i] * kWidth, kWidth, head.begin() + chain[i + 1] * kWidth);
    }
    if (!chain.empty()) {
      add("output", kWidth, vocab, head);
    }
  }

  GgufWriter writer_;
};

class PublishedChats : public ::testing::Test {
 protected:
  LocalCompleter open(const Json& keys, const std::vector<TokenId>& chain = {}) {
    const auto path = folder_ / "model.gguf";
    ChainModel(keys, chain).save(path);
    LoadOptions options;
    options.compute = {&testing::tested_table(), 1};
    SessionOptions session;
    session.context = 256;
    auto model = Model::load(path, options);
    EXPECT_TRUE(model) << model.error().message;
    return LocalCompleter(Session::create(*model, session).value());
  }

  static Request talk() {
    Request request;
    request.messages = {
        {"user", "the hen", ""}, {"assistant", "and the rain", ""}, {"user", "is it in?", ""}};
    request.sampling.temperature = 0;
    request.max_tokens = 8;
    return request;
  }

  const Json cases_ = Json::parse(
      std::ifstream(testing::source_path("tests/golden/published/chats.json"), std::ios::binary));
  testing::TempFolder folder_;
};

TEST_F(PublishedChats, BeginAsTransformersBeginsThem) {
  ASSERT_EQ(cases_.size(), 13);
  for (const Json& each : cases_) {
    SCOPED_TRACE(each.at("keys").at("general.name"));
    const LocalCompleter completer = open(each.at("keys"));
    const Model& model = completer.session().model();
    EXPECT_EQ(model.tokenizer().encode("the hen and"),
              each.at("begin").get<std::vector<TokenId>>());
    EXPECT_EQ(model.chat_template().is_chat(), !each.at("talk").is_null());
    if (!each.at("talk").is_null()) {
      EXPECT_EQ(completer.prompt_tokens(talk()).value(),
                each.at("talk").get<std::vector<TokenId>>());
    }
  }
}

TEST_F(PublishedChats, StopAtEveryTokenThatEndsATurn) {
  for (const Json& each : cases_) {
    SCOPED_TRACE(each.at("keys").at("general.name"));
    const bool chat = !each.at("talk").is_null();
    Request request = talk();
    if (!chat) {
      request.messages.clear();
      request.prompt = "the hen and";
    }
    const auto stops = each.at("stops").get<std::vector<TokenId>>();
    for (const TokenId stop : stops) {
      const auto prompt = each.at(chat ? "talk" : "begin").get<std::vector<TokenId>>();
      const auto tokens =
          each.at("keys").at("tokenizer.ggml.tokens").get<std::vector<std::string>>();
      const auto id_of = [&](const char* text) {
        return static_cast<TokenId>(std::ranges::find(tokens, text) - tokens.begin());
      };
      LocalCompleter completer = open(
          each.at("keys"), {prompt.back(), id_of("o"), id_of("b"), stop, id_of("r"), id_of("t")});
      const Completion completion =
          completer.complete(request, [](std::string_view) { return true; }).value();
      EXPECT_EQ(completion.text, "ob") << "token " << stop;
      EXPECT_EQ(completion.reason, StopReason::kEndOfText);
      std::vector<TokenId> all = completer.session().model().stop_tokens();
      std::ranges::sort(all);
      EXPECT_EQ(all, stops);
    }
  }
}

std::vector<TokenId> controls_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::vector<TokenId> out;
  std::ranges::copy_if(ids, std::back_inserter(out), [&](TokenId id) {
    return tokenizer.is_control(id) && tokenizer.spelling(id) != "<unk>";
  });
  return out;
}

// A page that was pasted cannot close the user's turn and open another.
TEST_F(PublishedChats, MessagesThatSpellControlTokensStayWithinTheirTurn) {
  for (const Json& each : cases_) {
    if (each.at("talk").is_null()) {
      continue;
    }
    SCOPED_TRACE(each.at("keys").at("general.name"));
    LocalCompleter completer = open(each.at("keys"));
    const Tokenizer& tokenizer = completer.session().model().tokenizer();
    Request request = talk();
    request.max_tokens = 1;
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
      if (tokenizer.is_control(id) && request.messages.back().content.size() < 100) {
        request.messages.back().content += " " + std::string(tokenizer.spelling(id));
      }
    }
    const auto talk_ids = each.at("talk").get<std::vector<TokenId>>();
    const auto ids = completer.prompt_tokens(request).value();
    EXPECT_EQ(controls_of(tokenizer, ids), controls_of(tokenizer, talk_ids));
    const auto quiet = [](std::string_view) { return true; };
    const Completion completion = completer.complete(request, quiet).value();
    ASSERT_EQ(completion.notes.size(), 1U);
    EXPECT_NE(completion.notes[0].find("--parse-special-in-prompt"), std::string::npos);
    request.parse_special_in_messages = true;
    EXPECT_GT(controls_of(tokenizer, completer.prompt_tokens(request).value()).size(),
              controls_of(tokenizer, talk_ids).size());
    EXPECT_TRUE(completer.complete(request, quiet).value().notes.empty());
    EXPECT_TRUE(completer.complete(talk(), quiet).value().notes.empty());
  }
}

TEST_F(PublishedChats, APromptThatCannotFitIsRefusedBeforeItIsTokenized) {
  const LocalCompleter completer = open(cases_.at(0).at("keys"));
  Request request = talk();
  request.messages.back().content = std::string(size_t{32} << 20, 'a');
  const auto tokens = completer.prompt_tokens(request);
  ASSERT_FALSE(tokens);
  EXPECT_NE(tokens.error().message.find("The prompt has more than"), std::string::npos)
      << tokens.error().message;
}

}  // namespace
}  // namespace tern
