#include "tools/provider_options.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/file.h"
#include "engine/base/json_text.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostFile = size_t{16} << 20;

Result<Json> json_of(const char* option, const std::string& text) {
  Json value = parse_json(text);
  if (value.is_discarded()) {
    return Error{std::string(option) + ": this is no JSON."};
  }
  return value;
}

// What stands in the option itself, or in the file that it names.
Result<Json> given_or_file(const char* option, const std::string& given) {
  const size_t first = given.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && (given[first] == '{' || given[first] == '[')) {
    return json_of(option, given);
  }
  ASSIGN_OR_RETURN(const std::string text, read_text_file(given, kMostFile));
  return json_of(option, text);
}

Result<void> put_tools(const std::string& given, Json& body) {
  ASSIGN_OR_RETURN(Json tools, given_or_file("--tools", given));
  if (tools.is_object() && tools.contains("tools")) {
    tools = Json(tools["tools"]);
  }
  if (!tools.is_array() || tools.empty()) {
    return Error{
        "--tools: expected a JSON array of tools as OpenAI's API takes them, [{\"type\": "
        "\"function\", \"function\": {...}}]."};
  }
  body["tools"] = std::move(tools);
  return {};
}

Result<void> put_format(const std::string& given, Json& body) {
  Json format;
  if (given == "json" || given == "json_object") {
    format = {{"type", "json_object"}};
  } else if (given == "text") {
    format = {{"type", "text"}};
  } else {
    ASSIGN_OR_RETURN(format, given_or_file("--response-format", given));
  }
  if (!format.is_object() || !format.contains("type")) {
    return Error{
        "--response-format: expected json, text, or an object with a \"type\" as OpenAI's API "
        "takes it."};
  }
  body["response_format"] = std::move(format);
  return {};
}

void declare_limit(CLI::App& app, const char* name, std::optional<double>& seconds,
                   const std::string& what) {
  app.add_option(name, seconds, what)->check(in_range(0.0, 86'400.0))->type_name("SECONDS");
}

void put_ms(const std::optional<double>& usual, const std::optional<double>& given, int32_t& ms) {
  if (const std::optional<double> seconds = given ? given : usual) {
    ms = static_cast<int32_t>(std::lround(*seconds * 1e3));
  }
}

void put_limits(const CallLimits& usual, const CallLimits& given, Provider& provider) {
  ProviderTimeouts& limits = provider.timeouts;
  put_ms(usual.connect, given.connect, limits.connect_ms);
  put_ms(usual.first_byte, given.first_byte, limits.first_byte_ms);
  put_ms(usual.idle, given.idle, limits.idle_ms);
  put_ms(usual.total, given.total, limits.total_ms);
  if (const std::optional<int64_t> retries = given.retries ? given.retries : usual.retries) {
    provider.retries = static_cast<int32_t>(*retries);
  }
}

Result<std::pair<std::string, std::string>> header_of(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) {
    return Error{"--header: expected \"Name: value\", found no colon."};
  }
  std::string value = text.substr(colon + 1);
  value.erase(0, std::min(value.find_first_not_of(' '), value.size()));
  const std::string name = text.substr(0, colon);
  if (const std::string wrong = complaint_on_header(name, value); !wrong.empty()) {
    return Error{"--header: " + wrong};
  }
  return std::pair(name, value);
}

}  // namespace

void ProviderOptions::declare(CLI::App& app) {
  declare_limit(app, "--timeout-connect", limits.connect,
                "Providers: until a connection stands; 0: any time");
  declare_limit(app, "--timeout-first-byte", limits.first_byte,
                "Providers: from the end of the request to the first byte of the answer, and a "
                "second more for each 10 kB of prompt");
  declare_limit(app, "--timeout-idle", limits.idle,
                "Providers: the longest silence within a request or an answer");
  declare_limit(app, "--timeout-total", limits.total, "Providers: for a call with its retries");
  app.add_option("--retries", limits.retries, "Providers: further attempts of a call that failed")
      ->check(in_range(0, 10))
      ->type_name("N");
  app.add_option("--header", headers,
                 "Send this header, as NAME: VALUE, to the one provider that is asked (may be "
                 "given several times)")
      ->type_name("HEADER")
      ->allow_extra_args(false);
  app.add_option("--extra-body", extra_body,
                 "Further fields of the request to a provider, as a JSON object")
      ->type_name("JSON");
  app.add_option("--tools", tools,
                 "Tools that a provider's model may call: a JSON file, or the array itself")
      ->type_name("FILE");
  app.add_option("--response-format", response_format,
                 "Ask a provider for json, or for a response_format given as JSON or a file")
      ->type_name("FORMAT");
}

Result<void> ProviderOptions::apply(const CallLimits& usual, const RoutePolicy& policy,
                                    ProviderSet& set) const {
  for (Provider& provider : set.providers) {
    put_limits(usual, limits, provider);
  }
  if (headers.empty()) {
    return {};
  }
  std::vector<std::string> asked = policy.chain;
  std::erase(asked, kLocalName);
  if (asked.size() != 1) {
    return Error{
        "--header: expected one provider that gets it, by --provider or --route NAME: a header can "
        "hold a key, which is one provider's alone."};
  }
  for (Provider& provider : set.providers) {
    for (const std::string& header : headers) {
      ASSIGN_OR_RETURN(auto pair, header_of(header));
      if (provider.name == asked.front()) {
        provider.headers.push_back(std::move(pair));
      }
    }
  }
  return {};
}

Result<std::string> ProviderOptions::extra() const {
  Json body = Json::object();
  if (!extra_body.empty()) {
    ASSIGN_OR_RETURN(body, given_or_file("--extra-body", extra_body));
    if (!body.is_object()) {
      return Error{"--extra-body: expected a JSON object."};
    }
  }
  if (!tools.empty()) {
    RETURN_IF_ERROR(put_tools(tools, body));
  }
  if (!response_format.empty()) {
    RETURN_IF_ERROR(put_format(response_format, body));
  }
  return body.empty() ? std::string() : body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<void> ProviderOptions::expect_none() const {
  const char* given = !headers.empty()           ? "--header"
                      : !extra_body.empty()      ? "--extra-body"
                      : !tools.empty()           ? "--tools"
                      : !response_format.empty() ? "--response-format"
                                                 : nullptr;
  if (given != nullptr) {
    return Error{std::string(given) +
                 " is for providers, and this machine alone answers: --route names others."};
  }
  return {};
}

}  // namespace tern::cli
