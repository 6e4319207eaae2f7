#pragma once
// Result<T>: a value or an Error, with the member names of std::expected (which g++ 12 lacks).
//
// Anything that the outside world can get wrong (a file, the network, the configuration, the user) returns a Result.
// A broken promise between two functions of this program is a CHECK (check.h), never a Result.

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "engine/base/check.h"

namespace tern {

// What went wrong, as one sentence for the user: where, what was expected, what was found, what to do.
struct Error {
  std::string message;

  // The same error seen from further out: "models/a.gguf: tensor blk.0.attn_q.weight: ...".
  [[nodiscard]] Error in(const std::string& where) const { return Error{where + ": " + message}; }
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & { return checked(); }
  const T& value() const& { return const_cast<Result*>(this)->checked(); }
  T&& value() && { return std::move(checked()); }

  T& operator*() & { return checked(); }
  const T& operator*() const& { return const_cast<Result*>(this)->checked(); }
  T&& operator*() && { return std::move(checked()); }
  T* operator->() { return &checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->checked(); }

  const Error& error() const {
    TERN_CHECK(!has_value(), "error() of a Result that holds a value");
    return *std::get_if<1>(&state_);
  }

 private:
  T& checked() {
    TERN_CHECK(has_value(), "value() of a Result that holds an error");
    return *std::get_if<0>(&state_);
  }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  const Error& error() const {
    TERN_CHECK(!has_value(), "error() of a Result that holds no error");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace tern

#define TERN_CONCAT_INNER(a, b) a##b
#define TERN_CONCAT(a, b) TERN_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(expr): leaves the function with expr's error, if it has one.
#define RETURN_IF_ERROR(expr)                      \
  do {                                             \
    if (auto tern_status = (expr); !tern_status) { \
      return tern_status.error();                  \
    }                                              \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr): x = the value of expr, or leaves the function with its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(TERN_CONCAT(tern_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                           \
  if (!result) {                                  \
    return result.error();                        \
  }                                               \
  lhs = std::move(*result)
