#pragma once
// A provider of completions, as data: `providers.json` adds one without code.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tern {

struct ProviderModel {
  std::string id;  // as the server names it
  std::vector<std::string> aliases;
  int64_t context = 0;  // tokens of prompt and answer together; 0: unknown
  // US dollars a million tokens; none: unknown, which is never taken for free.
  std::optional<double> price_in;
  std::optional<double> price_out;
  std::optional<double> price_cached;  // of tokens of the prompt that come from the server's cache
  std::string priced_on;               // YYYY-MM-DD: prices are as old as this
  std::string price_source;
};

// Milliseconds; 0: no limit.
struct ProviderTimeouts {
  int32_t connect_ms = 5'000;
  int32_t first_byte_ms = 60'000;
  int32_t idle_ms = 30'000;
  int32_t total_ms = 0;
};

// Where a server departs from what OpenAI's does.
struct ProviderQuirks {
  bool no_stream_options = false;      // rejects stream_options
  bool max_completion_tokens = false;  // wants this name for max_tokens
  // Takes top_k, min_p, repeat_penalty, repeat_last_n and ignore_eos, as llama-server and vLLM do. OpenAI rejects unknown fields.
  bool more_sampling = false;
  // Fields that this server has refused by name: they are left out.
  std::set<std::string> refused_fields = {};
};

enum class ProviderKind : uint8_t { kLocal, kOpenAi };

struct Provider {
  std::string name;
  ProviderKind kind = ProviderKind::kOpenAi;
  std::string base_url;           // ends in /v1 as a rule; no slash at the end
  std::string base_url_variable;  // an environment variable that names another
  std::string balance_url;        // says what is left of the money; empty: no such thing
  // The key is the value of this environment variable, or the content of this file; neither: none is sent.
  std::string key_variable;
  std::string key_file;
  // The header that carries the key as it is; empty: "Authorization: Bearer KEY". Azure's is
  // api-key.
  std::string key_header;
  std::vector<std::pair<std::string, std::string>> headers;  // sent with every request
  std::string query;       // behind every address, as Azure's api-version=2024-10-21
  std::string extra_body;  // further fields of each request for a completion, as a JSON object
  std::string default_model;
  std::string embedding_model;        // the same for embeddings; empty: none is known
  std::vector<ProviderModel> models;  // known ones; the server may have others
  ProviderTimeouts timeouts;
  int32_t retries = 2;
  ProviderQuirks quirks;
};

}  // namespace tern
