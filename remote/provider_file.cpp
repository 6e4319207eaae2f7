#include "remote/provider_file.h"

#include <algorithm>
#include <cctype>

#include "engine/base/ascii.h"
#include "remote/strict_json.h"
#include "remote/url.h"

namespace tern {
namespace {

// Dates sort as text and are compared with nothing else, so the form is all that matters.
bool is_date(const std::string& text) {
  const std::string form = "dddd-dd-dd";
  return text.size() == form.size() &&
         std::equal(text.begin(), text.end(), form.begin(), [](char c, char f) {
           return f == 'd' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : c == f;
         });
}

void read_price(StrictObject& json, ProviderModel& model) {
  constexpr double kMost = 1e6;  // dollars a million tokens: a dollar a token
  json.number("in", model.price_in, 0, kMost);
  json.number("out", model.price_out, 0, kMost);
  json.number("cached_input", model.price_cached, 0, kMost);
  json.text("date", model.priced_on);
  json.text("source", model.price_source);
  if (!model.price_in || !model.price_out) {
    json.fail("expected both in and out, in US dollars for a million tokens.");
  }
  if (!is_date(model.priced_on)) {
    json.fail_at("date",
                 "expected the day of the price as YYYY-MM-DD, found \"" + model.priced_on + "\".");
  }
  if (model.price_source.empty()) {
    json.fail_at("source", "expected where the price is from.");
  }
}

ProviderModel read_model(StrictObject& json) {
  ProviderModel model;
  json.text("id", model.id);
  json.texts("aliases", model.aliases);
  json.count("context", model.context, int64_t{1} << 40);
  json.object("price", [&](StrictObject& price) { read_price(price, model); });
  if (model.id.empty()) {
    json.fail_at("id", "expected the model's name as the server has it.");
  }
  return model;
}

void read_seconds(StrictObject& json, const char* name, int32_t& ms) {
  double seconds = ms / 1e3;
  json.number(name, seconds, 0, 86'400);
  ms = static_cast<int32_t>(std::lround(seconds * 1e3));
}

std::string without_final_slashes(std::string url) {
  while (url.ends_with('/')) {
    url.pop_back();
  }
  return url;
}

// An address without user name and query.
bool is_base_url(std::string_view url) {
  const bool web = url.starts_with("https://") || url.starts_with("http://");
  return web && !host_of(url).empty() && url.find_first_of("@?# \t\r\n") == std::string_view::npos;
}

// Prices are those of the server that they were entered for: another one has others. The address of its balance would get
// the other one's key.
void forget_what_is_of_another_host(const std::string& host, Provider& provider) {
  if (host == host_of(provider.base_url)) {
    return;
  }
  provider.balance_url.clear();
  for (ProviderModel& model : provider.models) {
    model.price_in = model.price_out = model.price_cached = {};
    model.priced_on.clear();
    model.price_source.clear();
  }
}

void read_url(StrictObject& json, const char* name, std::string& url) {
  std::string given = url;
  json.text(name, given);
  given = without_final_slashes(given);
  if (!given.empty() && !is_base_url(given)) {
    json.fail_at(name,
                 "expected an address as https://host/v1, without user name and query, found \"" +
                     given + "\".");
  }
  url = given;
}

bool is_query(const std::string& text) {
  return std::ranges::all_of(
      text, [](char c) { return c > ' ' && c <= '~' && c != '?' && c != '#' && c != '@'; });
}

void read_provider(StrictObject& json, Provider& provider) {
  std::string kind = provider.kind == ProviderKind::kLocal ? "local" : "openai";
  json.text("kind", kind);
  if (kind != "local" && kind != "openai") {
    json.fail_at("kind", "expected openai (any server with its API) or local, found " + kind + ".");
  }
  provider.kind = kind == "local" ? ProviderKind::kLocal : ProviderKind::kOpenAi;
  const std::string host = host_of(provider.base_url);
  read_url(json, "base_url", provider.base_url);
  forget_what_is_of_another_host(host, provider);
  json.text("base_url_variable", provider.base_url_variable);
  read_url(json, "balance_url", provider.balance_url);
  json.text("key_variable", provider.key_variable);
  json.text("key_file", provider.key_file);
  json.text("key_header", provider.key_header);
  if (const std::string wrong = complaint_on_header(provider.key_header, "");
      !provider.key_header.empty() && !wrong.empty()) {
    json.fail_at("key_header", wrong);
  }
  json.strings("headers", provider.headers);
  for (const auto& [name, value] : provider.headers) {
    if (const std::string wrong = complaint_on_header(name, value); !wrong.empty()) {
      json.fail_at("headers", wrong);
    }
  }
  json.text("query", provider.query);
  if (!is_query(provider.query)) {
    json.fail_at("query", "expected name=value, with & between several, without a ?.");
  }
  json.json_object("extra_body", provider.extra_body);
  json.text("default_model", provider.default_model);
  json.text("embedding_model", provider.embedding_model);
  json.objects("models", [&](StrictObject& entry) {
    ProviderModel model = read_model(entry);
    const auto same = [&](const ProviderModel& each) { return each.id == model.id; };
    std::erase_if(provider.models, same);
    provider.models.push_back(std::move(model));
  });
  json.object("timeouts", [&](StrictObject& times) {
    read_seconds(times, "connect", provider.timeouts.connect_ms);
    read_seconds(times, "first_byte", provider.timeouts.first_byte_ms);
    read_seconds(times, "idle", provider.timeouts.idle_ms);
    read_seconds(times, "total", provider.timeouts.total_ms);
  });
  int64_t retries = provider.retries;
  json.count("retries", retries, 10);
  provider.retries = static_cast<int32_t>(retries);
  json.object("quirks", [&](StrictObject& quirks) {
    quirks.flag("no_stream_options", provider.quirks.no_stream_options);
    quirks.flag("max_completion_tokens", provider.quirks.max_completion_tokens);
    quirks.flag("more_sampling", provider.quirks.more_sampling);
  });
  if (json.has("key") || json.has("api_key")) {
    json.fail(
        "keys do not belong in this file: put the key into an environment variable and its "
        "name into key_variable, or into a file that only you can read and its path into "
        "key_file.");
  }
  if (provider.kind == ProviderKind::kOpenAi && provider.base_url.empty()) {
    json.fail_at("base_url", "expected the server's address, as https://host/v1.");
  }
}

bool is_provider_name(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

void read_named(StrictObject& json, ProviderSet& set) {
  std::string name;
  json.text("name", name);
  if (!is_provider_name(name) || name == "auto" || name == "remote") {
    json.fail_at("name", "expected letters, digits, - _ and . (and not auto or remote), found \"" +
                             name + "\".");
  }
  const auto found =
      std::ranges::find_if(set.providers, [&](const Provider& each) { return each.name == name; });
  Provider provider = found == set.providers.end() ? Provider() : *found;
  provider.name = name;
  read_provider(json, provider);
  if ((name == kLocalName) != (provider.kind == ProviderKind::kLocal)) {
    json.fail_at("kind", "the engine of this machine is the provider \"local\", and no other.");
  }
  if (found == set.providers.end()) {
    set.providers.push_back(std::move(provider));
  } else {
    *found = std::move(provider);
  }
}

}  // namespace

const Provider* ProviderSet::find(std::string_view name) const {
  const auto found =
      std::ranges::find_if(providers, [&](const Provider& each) { return each.name == name; });
  return found == providers.end() ? nullptr : &*found;
}

std::string ProviderSet::names() const {
  std::string text;
  for (const Provider& each : providers) {
    text += (text.empty() ? "" : ", ") + each.name;
  }
  return text;
}

Result<void> add_providers(ProviderSet& set, const std::string& where, const std::string& json) {
  ProviderSet changed = set;
  RETURN_IF_ERROR(read_strict_json(where, json, [&](StrictObject& root) {
    root.has("$schema");
    root.has("$comment");
    root.objects("providers", [&](StrictObject& entry) { read_named(entry, changed); });
    root.texts("chain", changed.chain);
    for (size_t i = 0; i < changed.chain.size(); ++i) {
      if (changed.find(changed.chain[i]) == nullptr) {
        root.fail_at("chain", "there is no provider \"" + changed.chain[i] + "\"; known are " +
                                  changed.names() + ".");
      }
    }
  }));
  set = std::move(changed);
  return {};
}

Result<void> apply_environment(ProviderSet& set,
                               const std::function<std::string(const std::string&)>& variable) {
  for (Provider& provider : set.providers) {
    const std::string& name = provider.base_url_variable;
    std::string url = name.empty() ? std::string() : variable(name);
    if (url.empty()) {
      continue;
    }
    url = without_final_slashes(url);
    if (!is_base_url(url)) {
      return Error{name +
                   ": expected an address as https://host/v1, without user name and query, found "
                   "something else."};
    }
    if (url != provider.base_url) {
      const std::string host = host_of(provider.base_url);
      provider.base_url = url;
      provider.balance_url.clear();
      forget_what_is_of_another_host(host, provider);
    }
  }
  return {};
}

const ProviderModel* find_model(const Provider& provider, std::string_view name) {
  const auto found = std::ranges::find_if(provider.models, [&](const ProviderModel& model) {
    return same_ignoring_case(model.id, name) ||
           std::ranges::any_of(model.aliases, [&](const std::string& alias) {
             return same_ignoring_case(alias, name);
           });
  });
  return found == provider.models.end() ? nullptr : &*found;
}

std::string complaint_on_header(const std::string& name, const std::string& value) {
  const bool token = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (!token) {
    return "expected the name of a header, of letters, digits and -.";
  }
  constexpr std::string_view kOurs[] = {
      "host", "content-length", "content-type", "transfer-encoding", "connection", "expect"};
  if (std::ranges::find(kOurs, std::string_view(lower(name))) != std::end(kOurs)) {
    return "the header " + name + " is set by Tern itself.";
  }
  const bool clean = std::ranges::all_of(
      value, [](unsigned char c) { return c == '\t' || (c >= ' ' && c != 0x7F); });
  return clean ? "" : "the value of the header " + name + " has control characters within.";
}

std::string host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) {
    return {};
  }
  url.remove_prefix(scheme + 3);
  return std::string(url.substr(0, url.find_first_of("/?#")));
}

std::string destination_of(const Provider& provider) {
  const std::string where = host_of(provider.base_url) + " (" + provider.name + ")";
  return is_safe_for_keys(provider.base_url)
             ? where
             : where + " over plain http, unencrypted: everybody on the way can read them";
}

}  // namespace tern
