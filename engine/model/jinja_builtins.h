#pragma once
// What a template finds without defining it: filters, tests, functions and the methods of values.
// Each is one row of a table in jinja_filters.cpp, jinja_list_filters.cpp, jinja_tests.cpp,
// jinja_functions.cpp or jinja_methods.cpp.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/jinja_eval.h"
#include "engine/model/jinja_value.h"

namespace tern::jinja {

// One call, with its arguments bound to the built-in's parameters.
struct BuiltinCall {
  Interpreter& interpreter;
  const Value& self;  // before "|", "is" or "."; undefined for functions
  std::vector<std::optional<Value>> args;
  Arguments rest;  // all of them, for a built-in that takes any

  Budget& budget() const { return interpreter.budget(); }
  bool has(size_t i) const { return args[i].has_value(); }
  const Value& arg(size_t i) const { return *args[i]; }
  // Of the wanted type, or an error that says which was expected.
  const std::string& text(size_t i) const;
  int64_t integer(size_t i) const;
  int64_t integer(size_t i, int64_t fallback) const { return has(i) ? integer(i) : fallback; }
  bool truth(size_t i, bool fallback) const { return has(i) ? arg(i).truthy() : fallback; }
};

struct Builtin {
  std::string_view name;
  // Separated by blanks; "?" behind a name: may be left out. "...": takes any arguments.
  std::string_view parameters;
  Value (*function)(const BuiltinCall& call);
};

// Null if there is none of that name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_list_filter(std::string_view name);  // those of jinja_list_filters.cpp only
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
const Builtin* find_method(const Value& self, std::string_view name);

// Throws if the arguments do not fit the parameters.
BuiltinCall bind(Interpreter& interpreter, const Builtin& builtin, const Value& self,
                 Arguments arguments);

}  // namespace tern::jinja
