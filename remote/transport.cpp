#include "remote/transport.h"

#include <algorithm>

#include "engine/base/ascii.h"

namespace tern {

const std::string* HttpResponse::header(std::string_view name) const {
  const auto same = [name](const auto& entry) { return same_ignoring_case(entry.first, name); };
  const auto found = std::find_if(headers.rbegin(), headers.rend(), same);
  return found == headers.rend() ? nullptr : &found->second;
}

}  // namespace tern
