#include "remote/api_key.h"

#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "engine/base/ascii.h"
#include "engine/base/environment.h"
#include "engine/base/file.h"
#include "remote/url.h"

namespace tern {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\f\v";
constexpr std::string_view kKnownPrefixes[] = {"hs_", "cr_", "sk-"};
// No key of an API is longer; a file that is, was named by mistake.
constexpr size_t kMostKeyBytes = 16'384;

std::string trimmed(std::string text) {
  text.erase(0, std::min(text.find_first_not_of(kSpaces), text.size()));
  text.erase(text.find_last_not_of(kSpaces) + 1);
  return text;
}

// Takes `word` off the front, whatever its case; false if it is not there.
bool take_word(std::string& text, std::string_view word) {
  const bool there = begins_ignoring_case(text, word);
  if (there) {
    text.erase(0, word.size());
  }
  return there;
}

// `key` without the quotes that a .env file or a copied command leaves around it.
std::string without_quotes(std::string key) {
  for (const std::string_view quotes : {"\"\"", "''", "``", "“”", "‘’", "«»"}) {
    const std::string_view open = quotes.substr(0, quotes.size() / 2);
    const std::string_view close = quotes.substr(quotes.size() / 2);
    if (key.size() >= quotes.size() && key.starts_with(open) && key.ends_with(close)) {
      return key.substr(open.size(), key.size() - quotes.size());
    }
  }
  return key;
}

Result<ApiKey> cleaned(std::string text, const std::string& source) {
  ApiKey key;
  key.source = source;
  // The line break at a file's end is as it should be.
  while (text.ends_with('\n') || text.ends_with('\r')) {
    text.pop_back();
  }
  key.value = trimmed(text);
  if (key.value.size() != text.size()) {
    key.warnings.push_back(source + ": white space around the key is ignored.");
  }
  key.value = without_quotes(key.value);
  const bool quoted = key.value.size() != trimmed(text).size();
  bool pasted = take_word(key.value, "authorization:");
  key.value = trimmed(key.value);
  while (key.value.size() <= 6 || kSpaces.find(key.value[6]) != std::string_view::npos) {
    if (!take_word(key.value, "bearer")) {
      break;
    }
    pasted = true;
    key.value = trimmed(key.value);
  }
  const std::string bare = trimmed(without_quotes(key.value));
  if (quoted || bare != key.value) {
    key.value = bare;
    key.warnings.push_back(source + ": quotes around the key are ignored.");
  }
  if (pasted) {
    key.warnings.push_back(
        source + ": expected the key alone; \"Bearer\" before it is ignored, Tern adds its own.");
  }
  if (std::ranges::any_of(key.value, [](char c) { return c <= ' ' || c > '~'; })) {
    return Error{source +
                 ": expected a key of printable ASCII characters without spaces; found others. "
                 "Copy the key again."};
  }
  if (key.value.size() > kMostKeyBytes) {
    return Error{source + ": expected an API key; found more than " +
                 std::to_string(kMostKeyBytes) + " bytes."};
  }
  return key;
}

// A warning if others than the user can read a file; empty: nobody else can.
std::string exposure_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || (info.st_mode & 077) == 0) {
    return {};
  }
  return "the file " + path + ": other users of this machine may read this key: chmod 600 " + path;
}

std::string path_of(const std::string& name) {
  return name.starts_with("~/") ? environment("HOME") + name.substr(1) : name;
}

Result<std::string> file_text(const std::string& name) {
  return read_text_file(path_of(name), size_t{1} << 16);
}

}  // namespace

Result<ApiKey> load_api_key(const Provider& provider) {
  const std::string variable = "the environment variable " + provider.key_variable;
  ApiKey key;
  if (!trimmed(environment(provider.key_variable)).empty()) {
    ASSIGN_OR_RETURN(key, cleaned(environment(provider.key_variable), variable));
  } else if (!provider.key_file.empty()) {
    ASSIGN_OR_RETURN(std::string text, file_text(provider.key_file));
    ASSIGN_OR_RETURN(key, cleaned(std::move(text), "the file " + provider.key_file));
    if (std::string warning = exposure_of(path_of(provider.key_file)); !warning.empty()) {
      key.warnings.push_back(std::move(warning));
    }
  } else if (provider.key_variable.empty()) {
    return key;
  }
  if (key.value.empty()) {
    return Error{"there is no API key. Put one into " +
                 (provider.key_variable.empty() ? "the file " + provider.key_file : variable) +
                 "."};
  }
  // A core dump would hold the key, and be sent to whoever collects crashes.
  ::prctl(PR_SET_DUMPABLE, 0);
  if (!is_safe_for_keys(provider.base_url)) {
    return Error{
        "the key is not sent, because the base URL is neither https nor on this "
        "machine: anybody on the way could read it."};
  }
  if (std::ranges::none_of(kKnownPrefixes,
                           [&](auto prefix) { return key.value.starts_with(prefix); })) {
    key.warnings.push_back(key.source + ": the key " + mask_key(key.value) +
                           " begins with none of hs_, cr_ and sk-, as most keys do. It is "
                           "sent as it is.");
  }
  return key;
}

void wipe(std::string& secret) {
  secret.resize(secret.capacity());
  ::explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

}  // namespace tern
