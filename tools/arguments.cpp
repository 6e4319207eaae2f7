#include "tools/arguments.h"

#include <algorithm>
#include <cctype>
#include <deque>

#include "tools/foreign_options.h"
#include "tools/nearest.h"

namespace tern::cli {
namespace {

// CLI11's map of options is not needed: there are few, and their names tell short from long ones.
const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : app.get_options()) {
    const bool found = name.starts_with("--") ? option->check_lname(name.substr(2))
                       : name.size() == 2     ? option->check_sname(name.substr(1))
                                              : false;
    if (found) {
      return option;
    }
  }
  return nullptr;
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == name) {
      return command;
    }
  }
  return nullptr;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  if (app.get_parent() == nullptr) {
    names.insert(names.end(), {"help", "version"});
  }
  return names;
}

// How a person calls the command: "tern remote status".
std::string full_name(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name()
                                     : full_name(*app.get_parent()) + " " + app.get_name();
}

std::string ask_help(const CLI::App& app) {
  return " `" + full_name(app) + " --help` lists what there is.";
}

bool looks_like_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

// Whether the value names a thing, so that an empty one is a slip, as an unset variable of the shell leaves it. Other values are
// judged where they are read: numbers say their range there, and a text may be empty.
bool must_name_something(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.starts_with("MODEL") || type.starts_with("FILE") || type.starts_with("NAME") ||
         list_has("IN OUT WHAT", type);
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : between) + word;
  }
  return text;
}

// Reads the words one after the other.
class Reader {
 public:
  Reader(const CLI::App& app, std::vector<std::string> typed)
      : at_(&app), rest_(typed.begin(), typed.end()) {}

  Result<Arguments> read() {
    while (!rest_.empty()) {
      std::string word = take();
      if (word == "--") {
        positionals_.insert(positionals_.end(), rest_.begin(), rest_.end());
        rest_.clear();
      } else if (looks_like_option(word)) {
        RETURN_IF_ERROR(read_option(word));
      } else {
        RETURN_IF_ERROR(read_word(std::move(word)));
      }
    }
    RETURN_IF_ERROR(check_types_of_cache());
    RETURN_IF_ERROR(check_command());
    RETURN_IF_ERROR(check_words());
    if (!positionals_.empty()) {
      result_.words.emplace_back("--");
      result_.words.insert(result_.words.end(), positionals_.begin(), positionals_.end());
    }
    if (!ignored_.empty()) {
      result_.notes.push_back(joined(ignored_, ", ") + (ignored_.size() == 1
                                                            ? " has no effect here."
                                                            : " have no effect here."));
    }
    return std::move(result_);
  }

 private:
  std::string take() {
    std::string word = std::move(rest_.front());
    rest_.pop_front();
    return word;
  }

  Error no_such_option(const std::string& name) const {
    std::vector<std::string> names;
    for (const CLI::Option* option : at_->get_options()) {
      for (const std::string& each : option->get_lnames()) {
        names.push_back("--" + each);
      }
      for (const std::string& each : option->get_snames()) {
        names.push_back("-" + each);
      }
    }
    const std::string meant = nearest(name, names);
    return Error{full_name(*at_) + " has no option " + name + "." +
                 (meant.empty() ? "" : " Did you mean " + meant + "?") + ask_help(*at_)};
  }

  Result<void> read_option(const std::string& word) {
    const size_t equals = word.find('=');
    std::string name = word.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    }
    if (const CLI::Option* option = find_option(*at_, name)) {
      return read_own(*option, name, value);
    }
    if (find_foreign_option(name) != nullptr) {
      return read_foreign(name, value);
    }
    if (name == "--version") {  // of the program, wherever it stands
      rest_.clear();
      positionals_.clear();
      result_.words = {name};
      return {};
    }
    // -n32 and -t-1: a number may follow its letter at once. Anything else would be a guess.
    if (name.size() > 2 && name[1] != '-') {
      const std::string glued = word.substr(2);
      const CLI::Option* letter = find_option(*at_, name.substr(0, 2));
      const bool number = std::isdigit(static_cast<unsigned char>(glued[0])) != 0 ||
                          ((glued[0] == '-' || glued[0] == '.') && glued.size() > 1);
      if (letter != nullptr && letter->get_items_expected_max() > 0 && number) {
        return read_own(*letter, name.substr(0, 2), glued);
      }
      if (letter != nullptr && letter->get_items_expected_max() > 0) {
        return Error{full_name(*at_) + " has no option " + name + ". If " + name.substr(0, 2) +
                     " is meant, put a blank before its value." + ask_help(*at_)};
      }
    }
    return no_such_option(name);
  }

  Result<void> read_own(const CLI::Option& option, const std::string& name,
                        std::optional<std::string> value) {
    if (option.get_items_expected_max() == 0) {  // a flag
      result_.words.push_back(value ? name + "=" + *value : name);
      return {};
    }
    const bool needed = option.get_items_expected_min() > 0;
    const bool follows = !rest_.empty() && (needed || !looks_like_option(rest_.front()));
    if (!value && follows && !(needed && is_known_option(rest_.front()))) {
      value = take();
    }
    if (!value && needed) {
      return Error{name + ": expected a value after it, found " +
                   (rest_.empty() ? "the end of the line" : "the option " + rest_.front()) + "." +
                   ask_help(*at_)};
    }
    if (value && value->empty() && must_name_something(option)) {
      return Error{name +
                   ": expected a value, found an empty one. Is a variable of the shell unset?"};
    }
    if (value == "-1" && option.check_lname("seed")) {
      return {};  // as in llama.cpp: a new seed each time, which is the default
    }
    result_.words.push_back(name);
    if (value) {
      result_.words.push_back(*value);
    }
    // -f data/*.jsonl: the shell makes several words of it.
    const bool several = value && option.get_items_expected_max() > 1;
    while (several && option.get_allow_extra_args() && !rest_.empty() &&
           !looks_like_option(rest_.front())) {
      result_.words.push_back(take());
    }
    return {};
  }

  // An option in the place of a value is a slip; -1, or a text such as -hello, is a value.
  bool is_known_option(const std::string& word) const {
    return looks_like_option(word) &&
           (find_option(*at_, word) != nullptr || find_foreign_option(word) != nullptr);
  }

  Result<void> read_foreign(const std::string& name, std::optional<std::string> value) {
    const ForeignOption& row = *find_foreign_option(name);
    const bool needs = row.value == ForeignValue::kOne || row.value == ForeignValue::kTwo;
    const bool may =
        row.value == ForeignValue::kSwitch && !rest_.empty() && is_switch_value(rest_.front());
    if (!value && (may || (needs && !rest_.empty()))) {
      value = take();
    }
    if (row.value == ForeignValue::kTwo && !rest_.empty()) {
      take();
    }
    if (needs && !value) {
      return Error{name + ": expected a value after it, found the end of the line."};
    }
    switch (row.fate) {
      case ForeignFate::kSilent:
        return {};
      case ForeignFate::kIgnored:
        if (std::ranges::find(ignored_, name) == ignored_.end()) {
          ignored_.push_back(name);
        }
        return {};
      case ForeignFate::kRefused:
        if (value && list_has(row.off, *value)) {
          return {};
        }
        return Error{name + " is not supported here. " + std::string(row.text)};
      case ForeignFate::kWord:
        positionals_.push_back(*value);
        return {};
      case ForeignFate::kMeans:
        break;
    }
    return translate(name, std::string(row.text), value);
  }

  Result<void> translate(const std::string& name, const std::string& own,
                         const std::optional<std::string>& value) {
    const CLI::Option* option = find_option(*at_, own);
    if (option == nullptr) {
      return Error{name + " has no meaning for `" + full_name(*at_) + "`." + ask_help(*at_)};
    }
    if (own == "--kv-type" && value) {
      (name.ends_with('v') ? values_type_ : keys_type_) = *value;
    }
    return read_own(*option, own, value);
  }

  // Keys and values have one type here.
  Result<void> check_types_of_cache() {
    if (keys_type_.empty() && values_type_.empty()) {
      return {};
    }
    const std::string keys = keys_type_.empty() ? "f16" : keys_type_;
    const std::string values = values_type_.empty() ? "f16" : values_type_;
    if (!keys_type_.empty() && !values_type_.empty() && keys != values) {
      return Error{"-ctk " + keys + " and -ctv " + values +
                   ": keys and values have one type here. Give the same for both, or --kv-type."};
    }
    if (keys != values) {
      result_.notes.push_back("keys and values have one type here: both are " +
                              (keys_type_.empty() ? values : keys) + ".");
    }
    return {};
  }

  Result<void> read_word(std::string word) {
    if (at_->get_subcommands([](const CLI::App*) { return true; }).empty()) {
      positionals_.push_back(std::move(word));
      return {};
    }
    if (at_->get_parent() == nullptr && (word == "help" || word == "version")) {
      return read_question(word);
    }
    const ForeignCommand* foreign = nullptr;
    if (at_->get_parent() == nullptr && find_command(*at_, word) == nullptr) {
      foreign = find_foreign_command(word);
    }
    if (foreign != nullptr && foreign->command.empty()) {
      return Error{"tern has no command " + word + ". " + std::string(foreign->text)};
    }
    const std::string name = foreign == nullptr ? word : std::string(foreign->command);
    const CLI::App* command = find_command(*at_, name);
    if (command == nullptr) {
      const std::string meant = nearest(word, command_names(*at_));
      return Error{full_name(*at_) + " has no command " + (word.empty() ? "\"\"" : word) + "." +
                   (meant.empty() ? "" : " Did you mean " + meant + "?") + ask_help(*at_)};
    }
    at_ = command;
    result_.words.push_back(name);
    return {};
  }

  // `tern help COMMAND` and `tern version`, as git and Ollama spell them.
  Result<void> read_question(const std::string& word) {
    if (word == "version") {
      result_.words.emplace_back("--version");
      return {};
    }
    std::erase_if(rest_, looks_like_option);
    while (!rest_.empty()) {
      RETURN_IF_ERROR(read_word(take()));
    }
    positionals_.clear();
    result_.words.emplace_back("--help");
    return {};
  }

  Result<void> check_command() const {
    const bool commands = !at_->get_subcommands([](const CLI::App*) { return true; }).empty();
    const bool asked = std::ranges::any_of(result_.words, [](const std::string& word) {
      return word == "--help" || word == "-h" || word == "--version";
    });
    if (commands && !asked) {
      return Error{full_name(*at_) + ": expected a command, found none." + ask_help(*at_)};
    }
    return {};
  }

  Result<void> check_words() const {
    size_t room = 0;
    bool names = false;
    for (const CLI::Option* option : at_->get_options()) {
      if (option->get_positional()) {
        room += static_cast<size_t>(std::min(option->get_items_expected_max(), 1 << 20));
        names = names || must_name_something(*option);
      }
    }
    if (positionals_.size() > room) {
      const std::vector<std::string> extra(positionals_.begin() + static_cast<ptrdiff_t>(room),
                                           positionals_.end());
      return Error{full_name(*at_) + ": expected " +
                   (room == 0   ? "no word"
                    : room == 1 ? "one word"
                                : std::to_string(room) + " words") +
                   " that is no option, found also: " + joined(extra, " ") +
                   ". Put a text with blanks in quotes." + ask_help(*at_)};
    }
    for (const std::string& word : positionals_) {
      if (word.empty() && names) {
        return Error{full_name(*at_) +
                     ": expected a name, found an empty one. Is a variable of the shell unset?"};
      }
    }
    return {};
  }

  const CLI::App* at_;  // the command whose options come
  std::deque<std::string> rest_;
  std::vector<std::string> positionals_;
  std::vector<std::string> ignored_;
  std::string keys_type_, values_type_;
  Arguments result_;
};

}  // namespace

Result<Arguments> read_arguments(const CLI::App& app, std::vector<std::string> typed) {
  return Reader(app, std::move(typed)).read();
}

}  // namespace tern::cli
