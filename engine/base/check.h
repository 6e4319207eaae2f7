#pragma once
// TERN_CHECK(condition, message): a broken promise inside this program. It says where and stops at once, in every build:
// going on would mean computing nonsense.

namespace tern {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const char* message) noexcept;

}  // namespace tern

#define TERN_CHECK(condition, message)                               \
  do {                                                               \
    if (!(condition)) [[unlikely]] {                                 \
      ::tern::check_failed(__FILE__, __LINE__, #condition, message); \
    }                                                                \
  } while (false)
