#include "remote/transport.h"

#include <algorithm>

namespace tern {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

const std::string* HttpResponse::header(std::string_view name) const {
  const auto same = [name](const auto& entry) {
    return std::ranges::equal(entry.first, name, {}, lower, lower);
  };
  const auto found = std::find_if(headers.rbegin(), headers.rend(), same);
  return found == headers.rend() ? nullptr : &found->second;
}

}  // namespace tern
