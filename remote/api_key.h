#pragma once
// Keys of APIs: where they come from, where they may go, and how little of them is ever shown.

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider.h"

namespace tern {

// Overwrites a secret before its memory is freed.
void wipe(std::string& secret);

struct ApiKey {
  std::string value;                  // empty: none is sent
  std::string source;                 // "the environment variable OPENAI_API_KEY"; never the key
  std::vector<std::string> warnings;  // sentences for the user, with the key masked

  // Its memory is overwritten: freed memory can end in a swap file.
  ~ApiKey() { wipe(value); }
};

// The key of `provider`, from its environment variable, else from its file ("~/" is the home
// folder). White space around it and a pasted "Bearer " are taken off with a warning; a key that
// does not begin as known ones do (hs_, cr_, sk-), and a file that others may read, are only warned
// about. Once a key was loaded this process leaves no core dump. Errors: the provider names a source
// and none holds a key, the key has white space or control characters within, or it would go over
// plain http to another machine. They do not begin with the provider's name, which callers put
// before them.
Result<ApiKey> load_api_key(const Provider& provider);

// "cr_a...wxyz": the first and last four characters; of a key of up to 16 only "...".
std::string mask_key(std::string_view key);

// `text` with each occurrence of `key` masked, and all that looks like a key of any provider. Masked too: the key in other
// letters' case, percent-encoded, with JSON's, HTML's or C's escapes, in hexadecimal, in base64 (also within a longer text that
// was encoded), and its beginning, if a server's words break off there.
std::string redact_keys(std::string text, std::string_view key);

}  // namespace tern
