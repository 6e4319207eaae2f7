#pragma once
// JSON as the values of the template interpreter, for tests that keep a template's context in a
// file.

#include <nlohmann/json.hpp>

#include "engine/model/jinja_value.h"

namespace tern::test {

inline jinja::Value to_value(const nlohmann::ordered_json& json) {
  using jinja::Value;
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned:
      return Value::integer(json.get<int64_t>());
    case nlohmann::json::value_t::number_float:
      return Value::real(json.get<double>());
    case nlohmann::json::value_t::string:
      return Value::string(json.get<std::string>());
    case nlohmann::json::value_t::array: {
      jinja::List list;
      for (const auto& item : json) {
        list.push_back(to_value(item));
      }
      return Value::list(std::move(list));
    }
    case nlohmann::json::value_t::object: {
      jinja::Dict dict;
      for (const auto& [key, value] : json.items()) {
        dict.set(key, to_value(value));
      }
      return Value::dict(std::move(dict));
    }
    default:
      return Value::none();
  }
}

}  // namespace tern::test
