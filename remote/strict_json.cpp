#include "remote/strict_json.h"

#include "engine/base/json_text.h"
#include "remote/plain_line.h"

namespace tern {
namespace {

using Json = nlohmann::json;

std::string shown(const Json& value) {
  constexpr size_t kMost = 60;
  return plain_line(value.dump(-1, ' ', false, Json::error_handler_t::replace), kMost);
}

// Of a text that parse_json discards.
std::string why_not_json(const std::string& text) {
  try {
    const Json parsed = Json::parse(text);
    return "it is nested too deeply.";
  } catch (const Json::exception& error) {
    return plain_line(error.what(), 200);
  }
}

std::string shown(double number) {
  return Json(number).dump();
}

}  // namespace

StrictObject::StrictObject(const Json& value, std::string path, std::optional<Error>& error)
    : value_(&value), path_(std::move(path)), error_(&error) {
  if (!value.is_object()) {
    fail("expected an object, found " + shown(value) + ".");
  }
}

void StrictObject::fail(const std::string& words) {
  if (!*error_) {
    *error_ = Error{path_ + ": " + words};
  }
}

void StrictObject::fail_at(const char* name, const std::string& words) {
  if (!*error_) {
    *error_ = Error{path_ + "." + name + ": " + words};
  }
}

const Json* StrictObject::find(const char* name) {
  asked_.insert(name);
  if (!value_->is_object()) {
    return nullptr;
  }
  const auto found = value_->find(name);
  return found == value_->end() ? nullptr : &*found;
}

bool StrictObject::has(const char* name) {
  return find(name) != nullptr;
}

void StrictObject::text(const char* name, std::string& into) {
  if (const Json* value = find(name)) {
    if (value->is_string()) {
      into = value->get<std::string>();
    } else {
      fail_at(name, "expected a string, found " + shown(*value) + ".");
    }
  }
}

void StrictObject::flag(const char* name, bool& into) {
  if (const Json* value = find(name)) {
    if (value->is_boolean()) {
      into = value->get<bool>();
    } else {
      fail_at(name, "expected true or false, found " + shown(*value) + ".");
    }
  }
}

void StrictObject::number(const char* name, std::optional<double>& into, double low, double high) {
  if (const Json* value = find(name)) {
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (number >= low && number <= high) {
      into = number;
    } else {
      fail_at(name, "expected a number from " + shown(low) + " to " + shown(high) + ", found " +
                        shown(*value) + ".");
    }
  }
}

void StrictObject::number(const char* name, double& into, double low, double high) {
  std::optional<double> number_given;
  number(name, number_given, low, high);
  into = number_given.value_or(into);
}

void StrictObject::count(const char* name, int64_t& into, int64_t most) {
  if (const Json* value = find(name)) {
    // Compared as unsigned numbers: the library would take 2^64 - 1 for -1.
    const bool whole =
        value->is_number_unsigned() && value->get<uint64_t>() <= static_cast<uint64_t>(most);
    if (whole) {
      into = value->get<int64_t>();
    } else {
      fail_at(name, "expected a whole number from 0 to " + std::to_string(most) + ", found " +
                        shown(*value) + ".");
    }
  }
}

void StrictObject::texts(const char* name, std::vector<std::string>& into) {
  const Json* value = find(name);
  if (value == nullptr) {
    return;
  }
  const auto is_text = [](const Json& each) { return each.is_string(); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_text)) {
    fail_at(name, "expected an array of strings, found " + shown(*value) + ".");
    return;
  }
  into = value->get<std::vector<std::string>>();
}

void StrictObject::strings(const char* name,
                           std::vector<std::pair<std::string, std::string>>& into) {
  const Json* value = find(name);
  if (value == nullptr) {
    return;
  }
  const auto is_text = [](const Json& each) { return each.is_string(); };
  if (!value->is_object() || !std::all_of(value->begin(), value->end(), is_text)) {
    fail_at(name, "expected an object of strings.");
    return;
  }
  into.clear();
  for (const auto& [key, text] : value->items()) {
    into.emplace_back(key, text.get<std::string>());
  }
}

void StrictObject::json_object(const char* name, std::string& into) {
  if (const Json* value = find(name)) {
    if (value->is_object()) {
      into = value->dump(-1, ' ', false, Json::error_handler_t::replace);
    } else {
      fail_at(name, "expected an object, found " + shown(*value) + ".");
    }
  }
}

void StrictObject::object(const char* name, const std::function<void(StrictObject&)>& read) {
  if (const Json* value = find(name)) {
    StrictObject inner(*value, path_ + "." + name, *error_);
    read(inner);
    inner.finish();
  }
}

void StrictObject::objects(const char* name, const std::function<void(StrictObject&)>& read) {
  const Json* value = find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_array()) {
    fail_at(name, "expected an array of objects, found " + shown(*value) + ".");
    return;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    StrictObject inner((*value)[i], path_ + "." + name + "[" + std::to_string(i) + "]", *error_);
    read(inner);
    inner.finish();
  }
}

void StrictObject::finish() {
  if (!value_->is_object()) {
    return;
  }
  for (const auto& [name, value] : value_->items()) {
    if (!asked_.contains(name)) {
      std::string known;
      for (const std::string& each : asked_) {
        known += (known.empty() ? "" : ", ") + each;
      }
      fail("there is no member \"" + plain_line(name, 60) + "\"; known are " + known + ".");
    }
  }
}

Result<void> read_strict_json(const std::string& where, const std::string& text,
                              const std::function<void(StrictObject&)>& read) {
  const Json json = parse_json(text);
  if (json.is_discarded()) {
    return Error{where + ": this is no JSON: " + why_not_json(text)};
  }
  std::optional<Error> error;
  StrictObject root(json, "$", error);
  if (!error) {
    read(root);
    root.finish();
  }
  if (error) {
    return error->in(where);
  }
  return {};
}

}  // namespace tern
