// The functions that every template finds, and how arguments are bound to a built-in's parameters.
#include <algorithm>
#include <ctime>
#include <iterator>

#include "engine/model/jinja_builtins.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

Value make_range(Call call) {
  constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox
  const int64_t start = call.has(1) ? call.integer(0) : 0;
  const int64_t stop = call.integer(call.has(1) ? 1 : 0);
  const int64_t step = call.integer(2, 1);
  if (step == 0) {
    throw TemplateError{"range() with step 0"};
  }
  const double count =
      (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (count > kMaxRange) {
    throw TemplateError{"range() of more than " + std::to_string(kMaxRange) + " numbers"};
  }
  ListBuilder items(call.budget());
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) {
      break;
    }
  }
  return items.value();
}

// The pairs of a dict or of a list of pairs, then the keywords.
Dict dict_of(Call call) {
  Dict dict;
  for (const Value& from : call.rest.positional) {
    if (from.is_dict()) {
      call.budget().charge_bytes(from.as_dict().size(), 4 * sizeof(Value));
      call.budget().charge_steps(from.as_dict().size() / 4);
      dict = from.as_dict();
      continue;
    }
    const Value pairs = call.interpreter.sequence_of(from);
    for (const Value& pair : pairs.items()) {
      if (!pair.is_list() || pair.items().size() != 2 || pair.items()[0].depth() > 0) {
        throw TemplateError{"dict() needs pairs of a key and a value"};
      }
      const Value& key = pair.items()[0];
      call.budget().charge_text(key.is_string() ? key.as_string().size() : 0);
      call.budget().charge_bytes(4 * sizeof(Value));
      dict.set(key, pair.items()[1]);
    }
  }
  for (const auto& [name, value] : call.rest.keywords) {
    call.budget().charge_steps(1);
    call.budget().charge_bytes(4 * sizeof(Value) + sizeof(MarkedText) + name.size());
    dict.set(name, value);
  }
  return dict;
}

Value make_dict(Call call) {
  return call.budget().dict(dict_of(call));
}

Value make_namespace(Call call) {
  return call.interpreter.new_namespace(dict_of(call));
}

Value raise_exception(Call call) {
  const Value message = call.interpreter.text(call.arg(0));
  call.budget().charge_bytes(message.as_string().size());
  throw TemplateError{"the template refuses: " + message.as_string()};
}

Value strftime_now(Call call) {
  const std::string& format = call.text(0);
  const std::time_t now = call.interpreter.now();
  std::tm local{};
  if (format.size() > 200 || localtime_r(&now, &local) == nullptr) {
    throw TemplateError{"strftime_now(): a format of more than 200 bytes"};
  }
  char buffer[4096];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const size_t size = std::strftime(buffer, sizeof(buffer), format.c_str(), &local);
#pragma GCC diagnostic pop
  return call.budget().string(std::string(buffer, size));
}

const Builtin kFunctions[] = {
    {"range", "start stop? step?", make_range}, {"dict", "...", make_dict},
    {"namespace", "...", make_namespace},       {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
};

struct Parameters {
  std::vector<std::string_view> names;
  size_t required = 0;
};

Parameters parse_parameters(std::string_view text) {
  Parameters out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    std::string_view name = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (name.ends_with('?')) {
      name.remove_suffix(1);
    } else {
      out.required = out.names.size() + 1;
    }
    out.names.push_back(name);
  }
  return out;
}

}  // namespace

const Builtin* find_function(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                   [&](const Builtin& function) { return function.name == name; });
  return found != std::end(kFunctions) ? found : nullptr;
}

BuiltinCall bind(Interpreter& interpreter, const Builtin& builtin, const Value& self,
                 Arguments arguments) {
  BuiltinCall call{interpreter, self, {}, {}};
  if (builtin.parameters == "...") {
    call.rest = std::move(arguments);
    return call;
  }
  const Parameters parameters = parse_parameters(builtin.parameters);
  const std::string who(builtin.name);
  if (arguments.positional.size() > parameters.names.size()) {
    throw TemplateError{who + " takes at most " + std::to_string(parameters.names.size()) +
                        " arguments, found " + std::to_string(arguments.positional.size())};
  }
  call.args.resize(parameters.names.size());
  std::move(arguments.positional.begin(), arguments.positional.end(), call.args.begin());
  for (auto& [name, value] : arguments.keywords) {
    const auto found = std::find(parameters.names.begin(), parameters.names.end(), name);
    if (found == parameters.names.end()) {
      throw TemplateError{who + " takes no argument '" + name + "'"};
    }
    auto& slot = call.args[static_cast<size_t>(found - parameters.names.begin())];
    if (slot.has_value()) {
      throw TemplateError{who + " got the argument '" + name + "' twice"};
    }
    slot = std::move(value);
  }
  for (size_t i = 0; i < parameters.required; ++i) {
    if (!call.args[i].has_value()) {
      throw TemplateError{who + " needs the argument '" + std::string(parameters.names[i]) + "'"};
    }
  }
  return call;
}

const std::string& BuiltinCall::text(size_t i) const {
  if (!arg(i).is_string()) {
    throw TemplateError{arg(i).is_undefined() ? arg(i).undefined_message()
                                              : "an argument must be a string, found a " +
                                                    std::string(arg(i).type_name())};
  }
  return arg(i).as_string();
}

int64_t BuiltinCall::integer(size_t i) const {
  if (!arg(i).is_integral()) {
    throw TemplateError{arg(i).is_undefined() ? arg(i).undefined_message()
                                              : "an argument must be an integer, found a " +
                                                    std::string(arg(i).type_name())};
  }
  return arg(i).as_int();
}

}  // namespace tern::jinja
