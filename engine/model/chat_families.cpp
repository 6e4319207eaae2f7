#include "engine/model/chat_families.h"

#include <algorithm>
#include <string>

#include "engine/base/ascii.h"

namespace tern {
namespace {

// Turns of BitNet-b1.58-2B-4T, from its tokenizer_config.json: "User: Hello<|eot_id|>Assistant: ".
constexpr std::string_view kBitnet =
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ message.role | capitalize }}: {{ message.content | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}";

constexpr std::string_view kLlama3 =
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim "
    "}}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

constexpr std::string_view kChatml =
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}";

// Falcon3 ends only the assistant's turns with a token.
constexpr std::string_view kFalcon3 =
    "{% for message in messages %}"
    "<|{{ message.role }}|>\n{{ message.content }}"
    "{% if message.role == 'assistant' %}<|endoftext|>{% endif %}{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '\\n' }}{% endif %}";

constexpr std::string_view kZephyr =
    "{% for message in messages %}"
    "<|{{ message.role }}|>\n{{ message.content }}{{ eos_token | default('</s>', true) }}{{ '\\n' "
    "}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '\\n' }}{% endif %}";

// No format at all: the texts, one below the other.
constexpr std::string_view kPlain = "{{ messages | map(attribute='content') | join('\\n') }}";

// The built-in ones first, in the order in which errors name them. Markers of a later family may
// contain an earlier one's: those of the more particular family stand first.
constexpr ChatFamily kFamilies[] = {
    {"bitnet", {"capitalize", "<|eot_id|>"}, "<|eot_id|> <|end_of_text|>", kBitnet},
    {"llama3",
     {"<|start_header_id|>", "<|end_header_id|>"},
     "<|eot_id|> <|eom_id|> <|end_of_text|>",
     kLlama3},
    {"chatml", {"<|im_start|>"}, "<|im_end|> <|endoftext|>", kChatml},
    {"phi", {"<|end|>", "<|assistant|>"}, "<|end|> <|endoftext|>", ""},
    {"glm", {"<|observation|>"}, "<|endoftext|> <|user|> <|observation|>", ""},
    {"falcon3", {"<|user|>", "<|assistant|>", "<|endoftext|>"}, "<|endoftext|>", kFalcon3},
    {"zephyr", {"<|user|>", "<|assistant|>"}, "</s> <|endoftext|>", kZephyr},
    {"plain", {}, "", kPlain},
    {"gpt-oss", {"<|start|>", "<|message|>"}, "<|return|> <|call|>", ""},
    {"gemma", {"<start_of_turn>"}, "<end_of_turn> <eos>", ""},
    {"gemma4", {"<|turn>"}, "<turn|> <eos>", ""},
    {"mistral", {"[INST]"}, "</s>", ""},
    {"command-r", {"<|START_OF_TURN_TOKEN|>"}, "<|END_OF_TURN_TOKEN|>", ""},
    {"deepseek", {"<｜Assistant｜>"}, "<｜end▁of▁sentence｜>", ""},
    {"granite", {"<|start_of_role|>"}, "<|end_of_text|>", ""},
    {"exaone", {"[|assistant|]"}, "[|endofturn|]", ""},
    {"hunyuan", {"<｜hy_Assistant｜>"}, "<｜hy_place▁holder▁no▁2｜>", ""},
    {"llama4", {"<|header_start|>"}, "<|eot|> <|eom|> <|end_of_text|>", ""},
};

}  // namespace

std::span<const ChatFamily> chat_families() {
  return kFamilies;
}

const ChatFamily* recognise_family(std::string_view text) {
  for (const ChatFamily& family : kFamilies) {
    const bool fits = std::all_of(
        std::begin(family.markers), std::end(family.markers), [&](std::string_view marker) {
          return marker.empty() || text.find(marker) != std::string_view::npos;
        });
    if (fits && !family.markers[0].empty()) {
      return &family;
    }
  }
  return nullptr;
}

const ChatFamily* find_family(std::string_view name) {
  const std::string wanted = name == "tinyllama" ? "zephyr" : std::string(name);
  const auto* found = std::find_if(
      std::begin(kFamilies), std::end(kFamilies),
      [&](const ChatFamily& family) { return family.name == wanted && !family.source.empty(); });
  return found != std::end(kFamilies) ? found : nullptr;
}

const ChatFamily* family_of_model(std::string_view architecture, std::string_view model_name) {
  const std::string name = lower(model_name);
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  const bool tuned = has("instruct") || has("chat") || name.ends_with("-it");
  // "bitnet2b" is what Microsoft's own file calls itself. 1bitLLM's models and other bitnets are
  // base models.
  if (architecture.starts_with("bitnet") && (has("bitnet2b") || has("2b-4t") || has("2b4t"))) {
    return find_family("bitnet");
  }
  if (tuned && (has("falcon3") || has("falcon-3"))) {
    return find_family("falcon3");
  }
  if (tuned && (has("llama-3") || has("llama3") || has("llama 3"))) {
    return find_family("llama3");
  }
  if (has("zephyr") || (tuned && has("tinyllama"))) {
    return find_family("zephyr");
  }
  // All of Bonsai's models are tuned ones of the Qwen3 family.
  if (has("bonsai") || (tuned && has("qwen"))) {
    return find_family("chatml");
  }
  return nullptr;
}

}  // namespace tern
