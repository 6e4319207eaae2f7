#pragma once
// The seam between whoever wants text and whoever makes it: the local engine, a cloud API, a router over both.

#include <functional>
#include <string_view>

#include "engine/api/message.h"
#include "engine/base/result.h"

namespace tern {

class Completer {
 public:
  // Called with each piece of text as it is made, always whole UTF-8 characters; returning false cancels.
  using Sink = std::function<bool(std::string_view piece)>;

  virtual ~Completer() = default;
  // Errors: the request cannot be served (prompt longer than the context, no such model, ...). Text that was delivered
  // before an error stays delivered; it is never repeated.
  virtual Result<Completion> complete(const Request& request, const Sink& sink) = 0;
};

}  // namespace tern
