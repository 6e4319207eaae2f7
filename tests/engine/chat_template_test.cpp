#include "engine/model/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/model/chat_families.h"

namespace tern {
namespace {

const std::vector<Message> kTalk = {
    {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello."}, {"user", "Bye"}};

TemplateContext context(std::string_view source, std::string_view name = "",
                        std::string_view architecture = "llama") {
  return {architecture, name, source, "<s>", "</s>"};
}

std::string render(const Result<ChatTemplate>& chat, const std::vector<Message>& messages = kTalk,
                   bool generation = true) {
  if (!chat) {
    return "error: " + chat.error().message;
  }
  const Result<std::string> text = chat->render(messages, generation);
  return text ? *text : "error: " + text.error().message;
}

bool stops_on(const ChatTemplate& chat, std::string_view token) {
  return std::find(chat.stop_tokens().begin(), chat.stop_tokens().end(), token) !=
         chat.stop_tokens().end();
}

// The texts expected here are written by hand from the models' published formats.
TEST(ChatTemplate, BuiltInsWriteTheirFormats) {
  const TemplateContext none = context("");
  EXPECT_EQ(render(ChatTemplate::named("bitnet", none)),
            "<s>System: Be brief.<|eot_id|>User: Hi<|eot_id|>Assistant: Hello.<|eot_id|>"
            "User: Bye<|eot_id|>Assistant: ");
  EXPECT_EQ(render(ChatTemplate::named("llama3", none)),
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(render(ChatTemplate::named("chatml", none)),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(render(ChatTemplate::named("falcon3", none)),
            "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello.<|endoftext|>\n"
            "<|user|>\nBye\n<|assistant|>\n");
  EXPECT_EQ(render(ChatTemplate::named("zephyr", none)),
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n"
            "<|user|>\nBye</s>\n<|assistant|>\n");
  EXPECT_EQ(render(ChatTemplate::named("plain", none)), "Be brief.\nHi\nHello.\nBye");
  EXPECT_EQ(ChatTemplate::named("tinyllama", none)->name(), "zephyr");
}

TEST(ChatTemplate, WithoutGenerationPromptTheAssistantIsNotInvited) {
  EXPECT_EQ(render(ChatTemplate::named("bitnet", context("")), {{"user", "Hi"}}, false),
            "<s>User: Hi<|eot_id|>");
  EXPECT_EQ(render(ChatTemplate::named("chatml", context("")), {{"user", "Hi"}}, false),
            "<|im_start|>user\nHi<|im_end|>\n");
}

TEST(ChatTemplate, ContentIsTextNotTemplate) {
  EXPECT_EQ(render(ChatTemplate::named("plain", context("")), {{"user", "{{ bos_token }}{% x"}}),
            "{{ bos_token }}{% x");
}

TEST(ChatTemplate, UnknownNameListsTheNames) {
  const auto chat = ChatTemplate::named("lama3", context(""));
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().message,
            "chat template 'lama3': neither Jinja text nor one of the built-in ones: bitnet, "
            "llama3, chatml, falcon3, zephyr, plain");
}

TEST(ChatTemplate, NoTemplateAndUnknownModelIsPlain) {
  const auto chat = ChatTemplate::choose(context("", "tern-tiny", "bitnet-b1.58"));
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->name(), "plain");
  EXPECT_FALSE(chat->is_chat());
}

TEST(ChatTemplate, NoTemplateIsRecognisedByTheModelsName) {
  const struct {
    const char* architecture;
    const char* name;
    const char* expected;
  } cases[] = {{"bitnet-b1.58", "bitnet2b", "bitnet"},
               {"bitnet-25", "bitnet2b_2501", "bitnet"},
               {"bitnet", "bitnet_b1_58-large", "plain"},
               {"llama", "Falcon3-7B-Instruct-1.58bit", "falcon3"},
               {"llama", "Falcon3-7B-Base-1.58bit", "plain"},
               {"llama", "Llama3-8B-1.58-100B-tokens", "plain"},
               {"llama", "Meta-Llama-3-8B-Instruct", "llama3"},
               {"llama", "TinyLlama-1.1B-Chat-v1.0", "zephyr"},
               {"qwen3", "Ternary-Bonsai-1.7B", "chatml"},
               {"llama", "TriLM_3.9B", "plain"}};
  for (const auto& one : cases) {
    const auto chat = ChatTemplate::choose(context("", one.name, one.architecture));
    ASSERT_TRUE(chat);
    EXPECT_EQ(chat->name(), one.expected) << one.name;
    EXPECT_EQ(chat->is_chat(), chat->name() != "plain");
  }
}

TEST(ChatTemplate, PlaceholderOfBitnetIsReplacedWithANotice) {
  const auto chat = ChatTemplate::choose(
      context("{% for message in messages %}{% if message['role'] == 'user' %}{{ 'Human: ' + "
              "message['content'] + '\\n\\nBITNETAssistant: ' }}{% endif %}{% endfor %}",
              "bitnet2b", "bitnet-b1.58"));
  EXPECT_EQ(render(chat, {{"user", "Hi"}}), "<s>User: Hi<|eot_id|>Assistant: ");
  EXPECT_EQ(chat->name(), "bitnet");
  ASSERT_EQ(chat->notices().size(), 1U);
  EXPECT_NE(chat->notices()[0].find("placeholder"), std::string::npos);
  EXPECT_TRUE(stops_on(*chat, "<|eot_id|>"));
  EXPECT_TRUE(stops_on(*chat, "<|end_of_text|>"));
}

TEST(ChatTemplate, TheFilesOwnTextIsRendered) {
  const auto chat = ChatTemplate::choose(
      context("{% for m in messages %}<|im_start|>{{ m.role | upper }}:{{ m.content }}<|im_end|>"
              "{% endfor %}{{ eos_token }}"));
  EXPECT_EQ(render(chat, {{"user", "Hi"}}), "<|im_start|>USER:Hi<|im_end|></s>");
  EXPECT_EQ(chat->name(), "file's own");
  EXPECT_TRUE(chat->is_chat());
  EXPECT_TRUE(chat->notices().empty());
  EXPECT_TRUE(stops_on(*chat, "<|im_end|>"));
  EXPECT_TRUE(stops_on(*chat, "</s>"));
}

TEST(ChatTemplate, ARecognisedTemplateThatFailsGivesWayToTheBuiltIn) {
  const auto chat = ChatTemplate::choose(
      context("{% import 'x' as y %}{{ '<|start_header_id|>' + y + '<|end_header_id|>' }}"));
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->name(), "llama3");
  ASSERT_EQ(chat->notices().size(), 1U);
  EXPECT_EQ(chat->notices()[0],
            "chat template: line 1: the tag 'import' is not known here; using the built-in "
            "'llama3' template");
}

TEST(ChatTemplate, AnUnknownTemplateThatFailsIsAnError) {
  const auto chat = ChatTemplate::choose(context("{% for m in messages %}{{ m.content }}"));
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().message,
            "chat template: line 1: expected {% endfor %}, found the end of the template; choose "
            "a built-in template: bitnet, llama3, chatml, falcon3, zephyr, plain");
}

TEST(ChatTemplate, ASystemPromptIsNotLostWhereTheTemplateHasNoPlaceForIt) {
  const char* refuses =
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
      "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";
  const char* ignores =
      "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}"
      "{% endfor %}";
  for (const char* source : {refuses, ignores}) {
    const auto chat = ChatTemplate::choose(context(source));
    EXPECT_EQ(render(chat), "[user]Be brief.\n\nHi[assistant]Hello.[user]Bye");
    EXPECT_FALSE(chat->takes_system());
  }
}

TEST(ChatTemplate, RefusalsOfTheTemplateTellWhereAndWhy) {
  const auto chat = ChatTemplate::choose(context(
      "{% if messages | length > 1 %}\n{{ raise_exception('one message only') }}{% endif %}"));
  EXPECT_EQ(render(chat), "error: chat template: line 2: the template refuses: one message only");
}

// Each file's own text, cut to what tells its family.
TEST(ChatFamilies, AreRecognisedByTheirMarkers) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {"{{ message['role'] | capitalize + ': ' + message['content'] + '<|eot_id|>' }}", "bitnet"},
      {"{{ '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + text + '<|eot_id|>' }}",
       "llama3"},
      {"{{ '<|im_start|>' + message['role'] }}", "chatml"},
      {"{{ '<|user|>\\n' + message['content'] + eos_token }}{{ '<|assistant|>' }}", "zephyr"},
      {"{{ '<|user|>\\n' + text + '<|end|>\\n<|assistant|>\\n' }}", "phi"},
      {"{{ '<|user|>\\n' + text + '\\n<|assistant|>\\n' + text + '<|endoftext|>' }}", "falcon3"},
      {"{{ '<|user|>' + text + '<|observation|>' + '<|assistant|>' }}", "glm"},
      {"{{ '<start_of_turn>user\\n' }}", "gemma"},
      {"{{ '[INST] ' + text + ' [/INST]' }}", "mistral"}};
  for (const auto& one : cases) {
    const ChatFamily* family = recognise_family(one.text);
    ASSERT_NE(family, nullptr) << one.text;
    EXPECT_EQ(family->name, one.expected);
  }
  EXPECT_EQ(recognise_family("{{ messages }}"), nullptr);
}

}  // namespace
}  // namespace tern
