#pragma once
// providers.json: who can be asked, as data.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider.h"

namespace tern {

// The name under which the engine of this machine stands in chains.
inline constexpr char kLocalName[] = "local";

struct ProviderSet {
  std::vector<Provider> providers;
  std::vector<std::string> chain;  // who is asked in turn where the user names nobody

  // Null: there is none of this name.
  const Provider* find(std::string_view name) const;
  // "holysheep, openai, local": for messages.
  std::string names() const;
};

// Adds the providers of a file to `set`. A provider that is there already is changed in those members that the file
// names; its models are replaced one by one. Errors name the file and the place in it.
Result<void> add_providers(ProviderSet& set, const std::string& where, const std::string& json);

// Lets environment variables (HOLYSHEEP_BASE_URL, OPENAI_BASE_URL) name other servers. A provider whose server was replaced
// has no address for its balance any more: the key would go to a host that the user did not name.
Result<void> apply_environment(ProviderSet& set,
                               const std::function<std::string(const std::string&)>& variable);

// The model that goes by this id or alias, case aside; null: the provider does not list it.
const ProviderModel* find_model(const Provider& provider, std::string_view name);

// What is wrong with a header that is to be sent; empty: nothing. Its value is never shown: it may
// be a key.
std::string complaint_on_header(const std::string& name, const std::string& value);

// The host (and port) of an address, for messages.
std::string host_of(std::string_view url);
// "api.example.org (name)", for telling the user where prompts go, and whether others can read them on the way.
std::string destination_of(const Provider& provider);

}  // namespace tern
