// Bodies of refusals: whatever they hold, a class and a line that can be shown come of it. The first byte chooses the status.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "remote/api_error.h"

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  constexpr int32_t kStatuses[] = {200, 302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502};
  if (size == 0) {
    return 0;
  }
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  HttpResponse head;
  head.status = kStatuses[data[0] % std::size(kStatuses)];
  // A header of the server's is as strange as its body.
  head.headers = {{"Retry-After", std::string(body.substr(0, 40))},
                  {"x-ratelimit-reset", std::string(body.substr(0, 20))},
                  {"x-request-id", std::string(body.substr(0, 60))}};
  const std::string provider = "p";
  const std::string model = "m";
  const ApiKey key{"cr_0123456789abcdefwxyz", "a test", {}};
  const ApiError error =
      refusal({provider, key, model, 1'767'225'600'000}, head, read_error_body(body));
  require(error.message.size() < kMostWordsBytes + 600);
  require(error.message.find(key.value) == std::string::npos);
  for (const char c : error.message) {
    require(static_cast<unsigned char>(c) >= 32 && c != 127);
  }
  require(!error.retry_after_ms || *error.retry_after_ms > 0);
  require(*name_of(error.kind) != '\0');
  // Refuses to write what is no UTF-8, by throwing.
  require(!nlohmann::json(error.message).dump().empty());
  return 0;
}
