#pragma once
// Reading JSON that a person wrote: what is not understood is an error that names its place ("$.providers[1].retries: ...").

#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/result.h"

namespace tern {

// The members of one object are asked for one by one; finish() complains of those that nobody asked for. Only the first error
// counts, and it is shared by all objects of a document. A member that is absent leaves the variable as it is.
class StrictObject {
 public:
  using Json = nlohmann::json;

  StrictObject(const Json& value, std::string path, std::optional<Error>& error);

  bool has(const char* name);
  void text(const char* name, std::string& into);
  void flag(const char* name, bool& into);
  void number(const char* name, std::optional<double>& into, double low, double high);
  void number(const char* name, double& into, double low, double high);
  void count(const char* name, int64_t& into, int64_t most);
  void texts(const char* name, std::vector<std::string>& into);
  // A member that is an object of strings.
  void strings(const char* name, std::vector<std::pair<std::string, std::string>>& into);
  // A member that is any object, as its text.
  void json_object(const char* name, std::string& into);
  // A member that is an object.
  void object(const char* name, const std::function<void(StrictObject&)>& read);
  // A member that is an array of objects.
  void objects(const char* name, const std::function<void(StrictObject&)>& read);
  void finish();

  void fail(const std::string& words);
  void fail_at(const char* name, const std::string& words);
  bool failed() const { return error_->has_value(); }
  const std::string& path() const { return path_; }

 private:
  const Json* find(const char* name);

  const Json* value_;
  std::string path_;
  std::optional<Error>* error_;
  std::set<std::string> asked_;
};

// Parses `text` as one object and lets `read` take its members. Errors begin with `where`, the file's name.
Result<void> read_strict_json(const std::string& where, const std::string& text,
                              const std::function<void(StrictObject&)>& read);

}  // namespace tern
