#include "remote/retry_wait.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace tern {

bool wait_ms(int32_t ms, const std::function<bool()>& cancelled) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  while (!cancelled || !cancelled()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) {
      return true;
    }
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(20)));
  }
  return false;
}

}  // namespace tern
