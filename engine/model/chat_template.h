#pragma once
// A conversation to the text that the model was trained on.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/result.h"

namespace tern {

// What the template needs to know of the model.
struct TemplateContext {
  std::string_view architecture;  // general.architecture
  std::string_view name;          // general.name, may be empty
  std::string_view source;        // tokenizer.chat_template, may be empty
  std::string_view bos_text;      // spelling of BOS and EOS, may be empty
  std::string_view eos_text;
};

class ChatTemplate {
 public:
  // Picks the template: a built-in one that recognises the file's text or the model's name, else the file's own Jinja text.
  // A file without any gives `plain`, with is_chat() false: text completion.
  static Result<ChatTemplate> choose(const TemplateContext& context);
  // A built-in name ("bitnet", "llama3", "chatml", "falcon3", "zephyr", "plain") or Jinja source. Errors list the names.
  static Result<ChatTemplate> named(std::string_view name_or_source,
                                    const TemplateContext& context);

  // The text of the conversation, ready to encode with EncodeOptions{add_special = false, parse_special = true} after
  // BOS has been put in front if starts_with_bos() is false and the model wants one. With `add_generation_prompt` it ends
  // where the assistant is to speak.
  Result<std::string> render(const std::vector<Message>& messages,
                             bool add_generation_prompt) const;

  std::string_view name() const;  // built-in name, or "file's own"
  bool is_chat() const;           // false: `plain` chosen for lack of a template
  // Spellings of every token that ends a turn in this family ("<|eot_id|>", ...); the caller looks them up.
  const std::vector<std::string>& stop_tokens() const;
  const std::vector<std::string>& notices()
      const;  // e.g. "the file's template is a placeholder: bitnet's is used"

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tern
