#include "remote/hub.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/base/ascii.h"
#include "engine/base/json_text.h"
#include "remote/plain_line.h"
#include "remote/retry_wait.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostAnswerBytes = size_t{32} << 20;
constexpr int kMostPages = 100;
constexpr int kAttempts = 4;

bool is_hex(const std::string& text, size_t length) {
  return text.size() == length && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// `W/"abc"` or `"abc"` as `abc`.
std::string bare_etag(const std::string* header) {
  std::string etag = header == nullptr ? "" : *header;
  if (etag.starts_with("W/")) {
    etag.erase(0, 2);
  }
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) {
    etag = etag.substr(1, etag.size() - 2);
  }
  return etag;
}

// The address with rel="next" of a Link header, relative to `endpoint`; empty: this was the last page.
std::string next_page(const HttpResponse& head, const std::string& endpoint) {
  const std::string* link = head.header("Link");
  if (link == nullptr || link->find("rel=\"next\"") == std::string::npos) {
    return "";
  }
  const size_t open = link->find('<');
  const size_t close = link->find('>');
  if (open == std::string::npos || close == std::string::npos || close < open) {
    return "";
  }
  const std::string url = link->substr(open + 1, close - open - 1);
  if (url.starts_with(endpoint + "/")) {  // the token goes nowhere else
    return url.substr(endpoint.size());
  }
  return url.starts_with('/') && !url.starts_with("//") ? url : "";
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// "mit", or "other (falcon-llm-license)".
std::string licence_of(const Json& info) {
  const auto card = info.find("cardData");
  if (card == info.end() || !card->is_object()) {
    return "";
  }
  const std::string name = text_at(*card, "license_name");
  const std::string licence = text_at(*card, "license");
  return name.empty() ? licence : name;
}

std::optional<HubFile> file_of(const Json& entry) {
  HubFile file;
  file.path = text_at(entry, "path");
  const auto size = entry.find("size");
  if (size == entry.end() || !size->is_number_unsigned() || !is_safe_path(file.path)) {
    return {};
  }
  file.size = size->get<uint64_t>();
  const auto large = entry.find("lfs");
  if (large != entry.end() && large->is_object()) {
    file.sha256 = text_at(*large, "oid");
    if (file.sha256.starts_with("sha256:")) {
      file.sha256.erase(0, 7);
    }
    const auto large_size = large->find("size");
    if (large_size != large->end() && large_size->is_number_unsigned()) {
      file.size = large_size->get<uint64_t>();
    }
  } else {
    file.git_blob = text_at(entry, "oid");
  }
  return file;
}

}  // namespace

std::string escape_path(const std::string& path) {
  constexpr char kPlain[] = "-._~/";
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text;
  for (const char c : path) {
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alphanumeric || std::string_view(kPlain).find(c) != std::string_view::npos) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += {'%', kDigits[byte / 16], kDigits[byte % 16]};
    }
  }
  return text;
}

bool is_repo_id(std::string_view text) {
  const auto is_name = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           std::ranges::all_of(part, [](char c) {
             return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '.' || c == '-' || c == '_';
           });
  };
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && is_name(text.substr(0, slash)) &&
         is_name(text.substr(slash + 1));
}

bool is_safe_path(const std::string& path) {
  const bool odd = std::ranges::any_of(
      path, [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127 || c == '\\'; });
  if (odd || path.empty() || path.size() > 1024) {
    return false;
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part(path.data() + begin, end - begin);
    if (part.empty() || part.starts_with('.')) {
      return false;
    }
    begin = end + 1;
  }
  return true;
}

Hub::Hub(Transport& transport, HubOptions options)
    : transport_(transport), options_(std::move(options)) {}

HttpHeaders Hub::credentials() const {
  HttpHeaders headers;
  if (!options_.token.empty()) {
    headers.emplace_back("Authorization", "Bearer " + options_.token);
  }
  return headers;
}

Error Hub::refusal(const HttpResponse& head, const std::string& repo) const {
  const std::string* code = head.header("X-Error-Code");
  const std::string why = code == nullptr ? "" : *code;
  const std::string page = options_.endpoint + "/" + repo;
  const bool has_token = !options_.token.empty();
  const std::string token_advice =
      has_token
          ? "HF_TOKEN is set, but opens nothing here: is it valid, and does its owner have access?"
          : "If you have access, set HF_TOKEN to a token of yours (" + options_.endpoint +
                "/settings/tokens).";
  if (why == "GatedRepo" || head.status == 403) {
    return Error{repo + ": access to this model must be asked for. Accept its licence at " + page +
                 ". " + token_advice};
  }
  if (why == "RevisionNotFound") {
    return Error{repo + ": there is no such revision. " + page + " shows which there are."};
  }
  if (why == "EntryNotFound") {
    return Error{repo + ": there is no such file. " + page + "/tree/main shows which there are."};
  }
  if (head.status == 401 || head.status == 404) {
    return Error{repo +
                 ": there is no such model on the hub, or it is private. Is the name right? " +
                 token_advice};
  }
  if (head.status == 429) {
    const std::string* after = head.header("Retry-After");
    const bool seconds =
        after != nullptr && after->find_first_not_of("0123456789") == std::string::npos;
    return Error{repo + ": the hub limits requests (429). Try again " +
                 (seconds ? "in " + *after + " s." : std::string("later.")) +
                 (has_token ? "" : " With HF_TOKEN set the limit is higher.")};
  }
  return Error{repo + ": the hub answered " + std::to_string(head.status) + "."};
}

Result<Hub::Answer> Hub::ask(const std::string& method, const std::string& path,
                             const std::string& repo) {
  HttpRequest request;
  request.method = method;
  request.url = options_.endpoint + path;
  request.headers = credentials();
  request.first_byte_timeout_ms = options_.silence_ms;
  request.idle_timeout_ms = options_.silence_ms;
  // A file's checksum stands in the hub's own answer, which may be a redirect to where the bytes are.
  request.max_redirects = method == "HEAD" ? 0 : 5;
  request.cancelled = options_.cancelled;
  std::string last;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) {
      if (options_.notice) {
        options_.notice(last + " Trying again ...");
      }
      if (!wait_ms(backoff_ms(attempt - 1), options_.cancelled)) {
        return Error{repo + ": stopped."};
      }
    }
    Answer answer;
    const HttpOutcome outcome =
        transport_.exchange(request, [&](const HttpResponse&, std::string_view piece) {
          answer.body += piece;
          return answer.body.size() <= kMostAnswerBytes;
        });
    if (outcome.failure == HttpFailure::kCancelled) {
      return Error{repo + ": stopped."};
    }
    answer.head = outcome.response;
    const int32_t status = outcome.response.status;
    if (outcome && status < 500 && status != 408) {
      if (answer.body.size() > kMostAnswerBytes) {
        return Error{repo + ": the hub's answer is too long."};
      }
      return answer;
    }
    last = outcome ? "The hub answered " + std::to_string(status) + "." : outcome.message;
    if (outcome.failure == HttpFailure::kRequest || outcome.failure == HttpFailure::kTls ||
        outcome.failure == HttpFailure::kResolve) {
      break;
    }
  }
  return Error{last};
}

Result<HubRepo> Hub::describe(const std::string& repo, const std::string& revision) {
  HubRepo described;
  ASSIGN_OR_RETURN(
      const Answer answer,
      ask("GET", "/api/models/" + escape_path(repo) + "/revision/" + escape_path(revision), repo));
  if (answer.head.status != 200) {
    return refusal(answer.head, repo);
  }
  const Json info = parse_json(answer.body);
  described.commit = info.is_object() ? text_at(info, "sha") : "";
  if (!is_hex(described.commit, 40)) {
    return Error{repo +
                 ": the hub's answer is not as expected: no commit in it. Is HF_ENDPOINT right?"};
  }
  described.id = text_at(info, "id").empty() ? repo : text_at(info, "id");
  if (!is_repo_id(described.id)) {
    return Error{repo + ": expected the hub to call it OWNER/NAME, found " +
                 plain_line(described.id, 100) + ". Is HF_ENDPOINT right?"};
  }
  if (lower(described.id) != lower(repo) && options_.notice) {
    options_.notice(repo + " is called " + described.id + " by the hub, and is stored as that.");
  }
  described.licence = licence_of(info);
  const auto gated = info.find("gated");
  described.gated = gated != info.end() && *gated != false && !gated->is_null();
  RETURN_IF_ERROR(list_files(described));
  return described;
}

Result<void> Hub::list_files(HubRepo& repo) {
  std::string path =
      "/api/models/" + escape_path(repo.id) + "/tree/" + repo.commit + "?recursive=true";
  for (int page = 0; page < kMostPages && !path.empty(); ++page) {
    ASSIGN_OR_RETURN(const Answer answer, ask("GET", path, repo.id));
    if (answer.head.status != 200) {
      return refusal(answer.head, repo.id);
    }
    const Json entries = parse_json(answer.body);
    if (!entries.is_array()) {
      return Error{repo.id + ": the hub's list of files is not as expected. Is HF_ENDPOINT right?"};
    }
    for (const Json& entry : entries) {
      if (!entry.is_object() || text_at(entry, "type") != "file") {
        continue;
      }
      if (std::optional<HubFile> file = file_of(entry)) {
        repo.files.push_back(std::move(*file));
      }
    }
    path = next_page(answer.head, options_.endpoint);
  }
  return {};
}

Result<RemoteFile> Hub::locate(const HubRepo& repo, const HubFile& file) {
  std::string path =
      "/" + escape_path(repo.id) + "/resolve/" + repo.commit + "/" + escape_path(file.path);
  Answer answer;
  for (int step = 0;; ++step) {
    ASSIGN_OR_RETURN(answer, ask("HEAD", path, repo.id));
    const std::string* to = answer.head.header("Location");
    const bool within = to != nullptr && to->starts_with('/') && !to->starts_with("//");
    if (answer.head.status / 100 != 3 || !within || step == 5) {
      break;
    }
    path = *to;  // the repository has been renamed
  }
  if (answer.head.status >= 400) {
    return refusal(answer.head, repo.id);
  }
  RemoteFile remote;
  remote.url = options_.endpoint + path;
  remote.headers = credentials();
  remote.size = file.size;
  remote.sha256 = file.sha256;
  remote.git_blob = file.git_blob;
  remote.refusal = [this, id = repo.id](const HttpResponse& head) { return refusal(head, id); };
  const std::string* linked = answer.head.header("X-Linked-Etag");
  const std::string etag = bare_etag(linked != nullptr ? linked : answer.head.header("ETag"));
  std::string& known = is_hex(etag, 64) ? remote.sha256 : remote.git_blob;
  if (is_hex(etag, 64) || is_hex(etag, 40)) {
    if (!known.empty() && known != etag) {
      return Error{repo.id + ": " + file.path + ": the hub names two checksums, " + known +
                   " and " + etag + ". Is HF_ENDPOINT an exact mirror?"};
    }
    known = etag;
  }
  if (remote.sha256.empty() && remote.git_blob.empty()) {
    return Error{repo.id + ": " + file.path +
                 ": the hub names no checksum, so that nothing could be verified."};
  }
  return remote;
}

}  // namespace tern
