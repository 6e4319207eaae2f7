#pragma once
// A conversation to the text that the model was trained on.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/result.h"
#include "engine/model/marked_text.h"

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
  // The file's own Jinja text, if it renders; a built-in one where that text is known to be broken,
  // where it fails but is recognised, or where the file has none and the model's name tells its
  // family. Otherwise `plain`, with is_chat() false: text completion.
  static Result<ChatTemplate> choose(const TemplateContext& context);
  // A built-in name ("bitnet", "llama3", "chatml", "falcon3", "zephyr", "plain") or Jinja source.
  // Errors list the names.
  static Result<ChatTemplate> named(std::string_view name_or_source,
                                    const TemplateContext& context);

  // The text of the conversation, ready to encode with EncodeOptions{.parse_special = true}. Where
  // the family's format has BOS, the text begins with bos_text; otherwise the caller puts it in
  // front if the model wants one. With `add_generation_prompt` the text ends where the assistant is
  // to speak. A system message that the template has no place for goes before the next user's
  // message.
  Result<std::string> render(const std::vector<Message>& messages,
                             bool add_generation_prompt) const;

  // The same, with what the messages say marked as untrusted.
  Result<MarkedText> render_marked(const std::vector<Message>& messages,
                                   bool add_generation_prompt) const;

  std::string_view name() const;  // built-in name, or "file's own"
  bool is_chat() const;           // false: `plain` chosen for lack of a template
  // Whether it has a place for a system message; otherwise that stands before the first message.
  bool takes_system() const;
  // The built-in ones, with commas between them.
  static std::string builtin_names();
  // Spellings of every token that ends a turn in this family ("<|eot_id|>", ...); the caller looks
  // them up.
  const std::vector<std::string>& stop_tokens() const;
  const std::vector<std::string>& notices()
      const;  // e.g. "the file's template is a placeholder: bitnet's is used"

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tern
