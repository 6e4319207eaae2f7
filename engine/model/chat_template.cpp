#include "engine/model/chat_template.h"

#include <algorithm>
#include <optional>

#include "engine/model/chat_families.h"
#include "engine/model/jinja.h"

namespace tern {

struct ChatTemplate::Impl {
  std::string name;
  bool is_chat = true;
  bool takes_system = true;  // else the system's text is put before the first user's
  jinja::Template text;
  std::string bos_text;
  std::string eos_text;
  std::vector<std::string> stop_tokens;
  std::vector<std::string> notices;
  std::optional<Error> refused;  // of the file's own text, which renders no conversation
};

namespace {

// What a message says, which may be a page that was pasted.
jinja::Value foreign(const std::string& text) {
  MarkedText marked;
  marked.append(text, true);
  return jinja::Value::text(std::move(marked));
}

// Templates make turns of roles ("<|user|>"): a name is trusted, any other text is not.
jinja::Value role(const std::string& name) {
  const bool is_name = name.size() < 64 && std::all_of(name.begin(), name.end(), [](char c) {
                         return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                (c >= '0' && c <= '9') || c == '_' || c == '-';
                       });
  return is_name ? jinja::Value::string(name) : foreign(name);
}

// The variables that Hugging Face hands to every template.
jinja::Dict variables(const std::vector<Message>& messages, bool add_generation_prompt,
                      const std::string& bos_text, const std::string& eos_text) {
  jinja::List list;
  for (const Message& message : messages) {
    jinja::Dict one;
    one.set("role", role(message.role));
    one.set("content", foreign(message.content));
    list.push_back(jinja::Value::dict(std::move(one)));
  }
  jinja::Dict globals;
  globals.set("messages", jinja::Value::list(std::move(list)));
  globals.set("add_generation_prompt", jinja::Value::boolean(add_generation_prompt));
  globals.set("bos_token", jinja::Value::string(bos_text));
  globals.set("eos_token", jinja::Value::string(eos_text));
  globals.set("tools", jinja::Value::none());
  globals.set("documents", jinja::Value::none());
  return globals;
}

// The conversation for a template that knows no system role.
std::vector<Message> without_system(const std::vector<Message>& messages) {
  std::vector<Message> out;
  std::string system;
  for (const Message& message : messages) {
    if (message.role == "system") {
      system += message.content + "\n\n";
    } else {
      out.push_back(message);
      if (message.role == "user") {
        out.back().content.insert(0, std::exchange(system, {}));
      }
    }
  }
  return out;
}

std::vector<std::string> stop_tokens_of(const ChatFamily* family, std::string_view eos_text) {
  std::vector<std::string> out;
  std::string_view rest = family != nullptr ? family->stop_tokens : "";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    out.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!eos_text.empty() && std::find(out.begin(), out.end(), eos_text) == out.end()) {
    out.emplace_back(eos_text);
  }
  return out;
}

// Ollama's Modelfiles have templates of Go's, whose braces look like Jinja's.
bool is_go_template(std::string_view text) {
  constexpr std::string_view kSigns[] = {".Messages", ".Prompt",     ".System",   ".Response",
                                         ".Role }}",  ".Content }}", "{{ end }}", "{{- end }}",
                                         "{{end}}",   "{{ range ",   "{{- range "};
  return std::any_of(std::begin(kSigns), std::end(kSigns), [&](std::string_view sign) {
    return text.find(sign) != std::string_view::npos;
  });
}

// Known-broken templates, by a piece of their text, and the built-in one that serves instead.
struct Broken {
  std::string_view marker;
  std::string_view family;
  std::string_view notice;
};
constexpr Broken kBroken[] = {
    {"BITNETAssistant", "bitnet",
     "the file's chat template is a placeholder that the model was not trained on; using the "
     "built-in 'bitnet' template"},
};

}  // namespace

std::string ChatTemplate::builtin_names() {
  std::string names;
  for (const ChatFamily& family : chat_families()) {
    if (!family.source.empty()) {
      names += (names.empty() ? "" : ", ") + std::string(family.name);
    }
  }
  return names;
}

Result<ChatTemplate> ChatTemplate::choose(const TemplateContext& context) {
  if (context.source.empty()) {
    const ChatFamily* family = family_of_model(context.architecture, context.name);
    ASSIGN_OR_RETURN(ChatTemplate chosen,
                     named(family != nullptr ? family->name : "plain", context));
    auto impl = std::make_shared<Impl>(*chosen.impl_);
    impl->is_chat = family != nullptr;
    if (family != nullptr) {
      impl->notices.push_back("the file has no chat template; using the built-in '" + impl->name +
                              "', by the model's name");
    }
    return ChatTemplate(std::move(impl));
  }
  for (const Broken& broken : kBroken) {
    if (context.source.find(broken.marker) != std::string_view::npos) {
      ASSIGN_OR_RETURN(const ChatTemplate chosen, named(broken.family, context));
      auto impl = std::make_shared<Impl>(*chosen.impl_);
      impl->notices.emplace_back(broken.notice);
      return ChatTemplate(std::move(impl));
    }
  }
  // The file's own text is the truth about its model, as long as it can be rendered.
  Result<ChatTemplate> own = named(context.source, context);
  const std::optional<Error> trial = own ? own->impl_->refused : std::optional(own.error());
  const ChatFamily* family = recognise_family(context.source);
  if (!trial) {
    return own;
  }
  if (family == nullptr || family->source.empty()) {
    return own ? own
               : Error{own.error().message + "; choose a built-in template: " + builtin_names()};
  }
  ASSIGN_OR_RETURN(const ChatTemplate chosen, named(family->name, context));
  auto impl = std::make_shared<Impl>(*chosen.impl_);
  impl->notices.push_back(trial->message + "; using the built-in '" + impl->name + "' template");
  return ChatTemplate(std::move(impl));
}

Result<ChatTemplate> ChatTemplate::named(std::string_view name_or_source,
                                         const TemplateContext& context) {
  const ChatFamily* builtin = find_family(name_or_source);
  if (builtin == nullptr && name_or_source.find('{') == std::string_view::npos) {
    return Error{"chat template '" + std::string(name_or_source.substr(0, 60)) +
                 "': neither Jinja text nor one of the built-in ones: " + builtin_names()};
  }
  const std::string name = builtin != nullptr ? std::string(builtin->name) : "file's own";
  Result<jinja::Template> text =
      jinja::Template::parse(builtin != nullptr ? builtin->source : name_or_source);
  if (!text && is_go_template(name_or_source)) {
    return Error{
        "chat template: this is a template of Go's, as Ollama's Modelfiles have it, and not Jinja. "
        "Leave --chat-template out to use the model's own, give the chat_template of its "
        "tokenizer_config.json, or choose a built-in template: " +
        builtin_names()};
  }
  if (!text) {
    return text.error().in("chat template");
  }
  const ChatFamily* family = builtin != nullptr ? builtin : recognise_family(name_or_source);
  auto impl = std::make_shared<Impl>(Impl{name,
                                          true,
                                          true,
                                          std::move(*text),
                                          std::string(context.bos_text),
                                          std::string(context.eos_text),
                                          stop_tokens_of(family, context.eos_text),
                                          {},
                                          {}});
  ChatTemplate made(impl);
  if (builtin != nullptr) {
    return made;
  }
  if (const Result<std::string> trial = made.render({{"user", "Hello"}}, true); !trial) {
    impl->refused = trial.error();
    return made;
  }
  const Result<std::string> with_system =
      made.render({{"system", "Mark of the system"}, {"user", "Hello"}}, true);
  impl->takes_system = with_system && with_system->find("Mark of the system") != std::string::npos;
  return made;
}

Result<std::string> ChatTemplate::render(const std::vector<Message>& messages,
                                         bool add_generation_prompt) const {
  ASSIGN_OR_RETURN(MarkedText text, render_marked(messages, add_generation_prompt));
  return std::move(text.bytes);
}

Result<MarkedText> ChatTemplate::render_marked(const std::vector<Message>& messages,
                                               bool add_generation_prompt) const {
  const jinja::Dict globals = variables(impl_->takes_system ? messages : without_system(messages),
                                        add_generation_prompt, impl_->bos_text, impl_->eos_text);
  Result<MarkedText> text = impl_->text.render_marked(globals);
  return text ? std::move(text) : text.error().in("chat template");
}

std::string_view ChatTemplate::name() const {
  return impl_->name;
}
bool ChatTemplate::takes_system() const {
  return impl_->takes_system;
}
bool ChatTemplate::is_chat() const {
  return impl_->is_chat;
}
const std::vector<std::string>& ChatTemplate::stop_tokens() const {
  return impl_->stop_tokens;
}
const std::vector<std::string>& ChatTemplate::notices() const {
  return impl_->notices;
}

}  // namespace tern
