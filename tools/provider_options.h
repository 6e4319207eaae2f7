#pragma once
// How providers are asked: limits of time, further headers and fields of requests, tools.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider_file.h"
#include "remote/route.h"
#include "remote/user_config.h"

namespace tern::cli {

struct ProviderOptions {
  CallLimits limits;
  std::vector<std::string> headers;  // "Name: value"
  std::string extra_body;            // a JSON object
  std::string tools;                 // a file with a JSON array
  std::string response_format;       // json, text or a JSON object, or a file with one

  void declare(CLI::App& app);
  // Changes the providers of `policy` as config.json and the options say. Errors: a header that
  // several would get.
  Result<void> apply(const CallLimits& usual, const RoutePolicy& policy, ProviderSet& set) const;
  // The further fields of a request, as Request::extra takes them; empty: none.
  Result<std::string> extra() const;
  // An error if an option was given that means nothing to this machine's own engine.
  Result<void> expect_none() const;
};

}  // namespace tern::cli
