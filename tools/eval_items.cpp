#include "tools/eval_items.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/io/tensor_file.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;
using Kind = EvalTask::Kind;

constexpr EvalTask kTasks[] = {
    {"arc_easy", Kind::kChoices, true},  {"piqa", Kind::kChoices, true},
    {"hellaswag", Kind::kChoices, true}, {"winogrande", Kind::kContexts, false},
    {"lambada", Kind::kLastWord, false}, {"blimp", Kind::kPairs, false},
};
constexpr size_t kMostChoices = 64;

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xC0U) != 0x80; });
}

Error missing(const char* field) {
  return Error{std::string("expected a field ") + field + " with text, found none."};
}

Result<std::string> text(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string()) {
    return missing(field);
  }
  return found->get<std::string>();
}

Result<std::vector<std::string>> texts(const Json& object, const char* field) {
  const auto found = object.find(field);
  std::vector<std::string> out;
  if (found != object.end() && found->is_array()) {
    for (const Json& each : *found) {
      if (each.is_string()) {
        out.push_back(each.get<std::string>());
      }
    }
  }
  if (out.empty() || out.size() != found->size() || out.size() > kMostChoices) {
    return Error{std::string("expected a field ") + field + " with 1 to " +
                 std::to_string(kMostChoices) + " texts, found something else."};
  }
  return out;
}

// An index: a number, or digits as text.
Result<int> index_at(const Json& object, const char* field, size_t count, int first = 0) {
  const auto found = object.find(field);
  int64_t value = -1;
  if (found != object.end() && found->is_number_integer()) {
    value = found->get<int64_t>();
  } else if (found != object.end() && found->is_string()) {
    const std::string digits = found->get<std::string>();
    value = digits.size() == 1 && digits[0] >= '0' && digits[0] <= '9' ? digits[0] - '0' : -1;
  }
  if (value < first || value >= static_cast<int64_t>(count) + first) {
    return Error{std::string("expected a field ") + field + " from " + std::to_string(first) +
                 " to " + std::to_string(static_cast<int64_t>(count) + first - 1) +
                 ", found something else."};
  }
  return static_cast<int>(value - first);
}

EvalItem choices_after(const std::string& context, const std::vector<std::string>& choices,
                       int gold) {
  EvalItem item;
  item.gold = gold;
  for (const std::string& choice : choices) {
    item.requests.push_back({context, " " + choice});
    item.lengths.push_back(characters(choice));
  }
  return item;
}

// ARC's own fields.
Result<EvalItem> read_arc(const Json& object) {
  ASSIGN_OR_RETURN(const std::string question, text(object, "question"));
  ASSIGN_OR_RETURN(const std::vector<std::string> choices, texts(object["choices"], "text"));
  ASSIGN_OR_RETURN(const std::vector<std::string> labels, texts(object["choices"], "label"));
  ASSIGN_OR_RETURN(const std::string key, text(object, "answerKey"));
  const auto gold = std::ranges::find(labels, key) - labels.begin();
  if (labels.size() != choices.size() || gold == static_cast<std::ptrdiff_t>(labels.size())) {
    return Error{"expected a label for each text, and answerKey among them, found " +
                 printable(key) + "."};
  }
  return choices_after("Question: " + question + "\nAnswer:", choices, static_cast<int>(gold));
}

Result<EvalItem> read_choices(const EvalTask& task, const Json& object) {
  const std::string_view name = task.name;
  if (name == "arc_easy" && object.contains("answerKey") && object.contains("choices") &&
      object["choices"].is_object()) {
    return read_arc(object);
  }
  if (name == "piqa" && object.contains("goal")) {
    ASSIGN_OR_RETURN(const std::string goal, text(object, "goal"));
    ASSIGN_OR_RETURN(const std::string first, text(object, "sol1"));
    ASSIGN_OR_RETURN(const std::string second, text(object, "sol2"));
    ASSIGN_OR_RETURN(const int gold, index_at(object, "label", 2));
    return choices_after("Question: " + goal + "\nAnswer:", {first, second}, gold);
  }
  ASSIGN_OR_RETURN(std::string query, text(object, "query"));
  ASSIGN_OR_RETURN(const std::vector<std::string> choices, texts(object, "choices"));
  ASSIGN_OR_RETURN(const int gold,
                   index_at(object, object.contains("gold") ? "gold" : "label", choices.size()));
  if (name != "hellaswag") {  // "Question: ...", with or without the newline before the answer
    query += query.ends_with('\n') ? "Answer:" : "\nAnswer:";
  }
  return choices_after(query, choices, gold);
}

Result<EvalItem> read_contexts(const Json& object) {
  std::vector<std::string> contexts;
  std::string continuation;
  int gold = 0;
  if (object.contains("sentence")) {
    ASSIGN_OR_RETURN(const std::string sentence, text(object, "sentence"));
    const size_t blank = sentence.find('_');
    if (blank == std::string::npos) {
      return Error{"expected a sentence with a blank (_), found " + printable(sentence) + "."};
    }
    for (const char* option : {"option1", "option2"}) {
      ASSIGN_OR_RETURN(const std::string filled, text(object, option));
      contexts.push_back(sentence.substr(0, blank) + filled);
    }
    constexpr const char* kSpace = " \t\n\r\v\f";
    const std::string rest = sentence.substr(blank + 1);
    const size_t begin = rest.find_first_not_of(kSpace);
    continuation = begin == std::string::npos
                       ? ""
                       : rest.substr(begin, rest.find_last_not_of(kSpace) - begin + 1);
    ASSIGN_OR_RETURN(gold, index_at(object, "answer", 2, 1));
  } else {
    ASSIGN_OR_RETURN(contexts, texts(object, "context_options"));
    ASSIGN_OR_RETURN(continuation, text(object, "continuation"));
    ASSIGN_OR_RETURN(gold, index_at(object, "gold", contexts.size()));
  }
  EvalItem item;
  item.gold = gold;
  for (const std::string& context : contexts) {
    item.requests.push_back({context, " " + continuation});
  }
  return item;
}

Result<EvalItem> read_last_word(const Json& object) {
  std::string context;
  std::string word;
  if (object.contains("text")) {
    ASSIGN_OR_RETURN(const std::string whole, text(object, "text"));
    const size_t space = whole.rfind(' ');
    if (space == std::string::npos) {
      return Error{"expected a text of several words, found " + printable(whole) + "."};
    }
    context = whole.substr(0, space);
    word = whole.substr(space + 1);
  } else {
    ASSIGN_OR_RETURN(context, text(object, "context"));
    ASSIGN_OR_RETURN(word, text(object, "continuation"));
  }
  return EvalItem{{{context, " " + word}}, {}, 0};
}

Result<EvalItem> read_pair(const Json& object) {
  ASSIGN_OR_RETURN(const std::string good, text(object, "sentence_good"));
  ASSIGN_OR_RETURN(const std::string bad, text(object, "sentence_bad"));
  return EvalItem{{{"", " " + good}, {"", " " + bad}}, {}, 0};
}

}  // namespace

std::span<const EvalTask> eval_tasks() {
  return kTasks;
}

Result<EvalTask> find_eval_task(const std::string& name) {
  std::string names;
  for (const EvalTask& task : kTasks) {
    if (name == task.name) {
      return task;
    }
    names += (names.empty() ? "" : ", ") + std::string(task.name);
  }
  return Error{"--task: expected one of " + names + ", found " + name + "."};
}

Result<EvalItem> read_eval_item(const EvalTask& task, std::string_view line) {
  const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return Error{"expected a JSON object, found " + printable(line, 40) + "."};
  }
  switch (task.kind) {
    case Kind::kChoices:
      return read_choices(task, object);
    case Kind::kContexts:
      return read_contexts(object);
    case Kind::kPairs:
      return read_pair(object);
    case Kind::kLastWord:
      break;
  }
  return read_last_word(object);
}

}  // namespace tern::cli
