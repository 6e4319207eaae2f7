// tern pull: downloads a model into the store, and nothing else of Tern does.

#include <algorithm>
#include <cstdio>
#include <map>

#include "engine/base/ascii.h"
#include "engine/base/environment.h"
#include "engine/base/memory.h"
#include "engine/base/output_file.h"
#include "engine/io/tensor_file.h"
#include "remote/curl_transport.h"
#include "remote/hub.h"
#include "remote/offline.h"
#include "remote/url.h"
#include "tools/cli.h"
#include "tools/model_store.h"
#include "tools/pull_plan.h"
#include "tools/transfer_meter.h"
#include "tools/version.h"

namespace tern::cli {
namespace {

struct Options {
  std::string name;
  std::string sha256;
  bool offline = false;
  bool shared = false;
  int retries = 5;
  int silence = 60;
};

FailureKind kind_of(const HttpOutcome& outcome) {
  const int32_t status = outcome.response.status;
  if (outcome.failure == HttpFailure::kTimeout || status == 408 || status == 504) {
    return FailureKind::kTimeout;
  }
  if (outcome.failure == HttpFailure::kRequest) {
    return FailureKind::kInput;
  }
  if (!outcome) {
    return FailureKind::kNetwork;
  }
  return status == 401 || status == 403 ? FailureKind::kAuth
         : status == 429                ? FailureKind::kRateLimit
         : status >= 500                ? FailureKind::kServer
                                        : FailureKind::kInput;
}

// Remembers how the latest exchange ended, which tells what kind of failure ended the download.
class NotingTransport final : public Transport {
 public:
  explicit NotingTransport(std::string user_agent) : transport_(std::move(user_agent)) {}

  HttpOutcome exchange(const HttpRequest& request, const BodySink& sink) override {
    HttpOutcome outcome = transport_.exchange(request, sink);
    kind_ = kind_of(outcome);
    return outcome;
  }
  FailureKind kind() const { return kind_; }

 private:
  CurlTransport transport_;
  FailureKind kind_ = FailureKind::kInput;
};

void say(const std::string& text) {
  print_message(text);
}

// HF_TOKEN, without the line break that `export HF_TOKEN=$(cat file)` does not leave but some editors do.
Result<std::string> hub_token(const std::string& endpoint) {
  std::string token = environment("HF_TOKEN");
  token.erase(0, std::min(token.find_first_not_of(" \t\r\n"), token.size()));
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  if (std::ranges::any_of(token, [](char c) { return c <= ' ' || c > '~'; })) {
    return Error{"HF_TOKEN: expected a token without spaces, found something else (not shown)."};
  }
  if (!token.empty() && !is_safe_for_keys(endpoint)) {
    say("note: HF_TOKEN is not sent, because HF_ENDPOINT is not https.");
    return std::string();
  }
  return token;
}

// The model's tensors, to see that it can be read and to name its format; a notice if it cannot.
void describe(const ModelStore& store, StoredModel& model) {
  const Result<TensorFile> file = TensorFile::open(store.path(model));
  if (!file) {
    model.format = model.main.empty() ? "safetensors" : "GGUF";
    say("note: Tern cannot run this model: " + file.error().message);
    return;
  }
  std::map<std::string, size_t> bytes;
  for (const Tensor& tensor : file->tensors()) {
    bytes[std::string(tensor.format->name)] += tensor.data.size();
  }
  const auto largest =
      std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  model.format = std::string(model.main.empty() ? "safetensors" : "GGUF") +
                 (largest == bytes.end() ? "" : " " + largest->first);
  const auto architecture = file->get_string("general.architecture");
  model.architecture = architecture && *architecture ? printable(**architecture) : "";
}

Result<void> check_space(const std::filesystem::path& folder, uint64_t needed) {
  constexpr uint64_t kMargin = uint64_t{64} << 20;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (!error && space.available < needed + kMargin) {
    return Error{folder.string() + ": expected " + human_bytes(needed) +
                 " of free space and some to spare, found " + human_bytes(space.available) +
                 ". Free some (`tern list`, `tern rm`), or name another folder in TERN_MODELS."};
  }
  return {};
}

class Puller {
 public:
  explicit Puller(const Options& options)
      : options_(options), transport_(std::string("tern/") + kVersion) {
    if (options.shared) {
      store_.trust_others();
    }
  }

  FailureKind failure_kind() const { return transport_.kind(); }

  Result<void> run() {
    const Result<std::vector<CatalogModel>> catalog = load_catalog();
    const std::vector<CatalogModel> known = catalog ? catalog.value() : std::vector<CatalogModel>();
    const std::string endpoint = hub_endpoint();
    const std::optional<ModelReference> asked = parse_reference(options_.name, known, endpoint);
    if (!asked) {
      return Error{options_.name +
                   ": expected a name that `tern list --all` shows, OWNER/NAME[@REVISION][:FILE], "
                   "or an https address; found neither."};
    }
    if (const CatalogModel* model = find_in_catalog(known, options_.name)) {
      name_ = model->name;
      if (!model->runs) {
        say("note: Tern does not run this model yet: " + model->status);
      }
    }
    if (options_.offline) {
      return offline(known);
    }
    if (store_.root().empty()) {
      return Error{"the models: " + std::string(kNoHomeFolder) +
                   " Or name a folder in TERN_MODELS."};
    }
    return asked->repo.empty() ? pull_address(*asked) : pull_hub(*asked, endpoint);
  }

 private:
  Result<void> offline(const std::vector<CatalogModel>& known) const {
    for (const StoredModel& model : find_stored(store_, options_.name, known)) {
      if (model.complete) {
        say("Offline; this model is here already.");
        print_name(store_.path(model).string());
        return {};
      }
    }
    return Error{options_.name +
                 ": not here, and downloads are off (--offline, TERN_OFFLINE or HF_HUB_OFFLINE)."};
  }

  Result<void> pull_hub(ModelReference reference, const std::string& endpoint) {
    HubOptions options;
    options.endpoint = endpoint;
    ASSIGN_OR_RETURN(options.token, hub_token(endpoint));
    options.cancelled = interrupted;
    options.notice = [](const std::string& text) { say("note: " + text); };
    options.silence_ms = options_.silence * 1000;
    Hub hub(transport_, options);
    ASSIGN_OR_RETURN(const HubRepo repo, hub.describe(reference.repo, reference.revision));
    ASSIGN_OR_RETURN(const PullPlan plan, plan_pull(repo, reference.file));
    reference.repo = repo.id;
    reference.file = plan.file;
    say(reference.text() + ": " + std::to_string(plan.files.size()) +
        (plan.files.size() == 1 ? " file, " : " files, ") + human_bytes(plan.size()) +
        ", licence: " +
        (repo.licence.empty() ? "none stated, see " + endpoint + "/" + repo.id
                              : printable(repo.licence)) +
        (repo.gated ? " (gated: its terms are at " + endpoint + "/" + repo.id + ")" : ""));
    StoredModel model;
    model.from = reference;
    model.commit = repo.commit;
    model.licence = repo.licence;
    model.main = plan.file;
    std::vector<Wanted> files;
    for (const HubFile& file : plan.files) {
      files.push_back({file.path, file.size, file.sha256,
                       [&hub, &repo, file] { return hub.locate(repo, file); }});
    }
    return store(std::move(model), files);
  }

  Result<void> pull_address(const ModelReference& reference) {
    const std::string plain = reference.text();
    const std::string file = plain.substr(plain.rfind('/') + 1);
    if (!is_safe_path(file) || !file.ends_with(".gguf")) {
      return Error{plain +
                   ": expected the address of a .gguf file, or OWNER/NAME of a model on the hub."};
    }
    if (!is_safe_for_keys(plain) && options_.sha256.empty()) {
      return Error{
          plain +
          ": expected https. Over http anyone on the way can change the file: use https, or name "
          "what it must be with --sha256."};
    }
    if (options_.sha256.empty()) {
      say("note: this server names no checksum; --sha256 HEX verifies the file. Nothing is known "
          "of its licence.");
    }
    StoredModel model;
    model.from = reference;
    model.main = file;
    RemoteFile remote;
    remote.url = reference.url;
    remote.sha256 = options_.sha256;
    return store(std::move(model),
                 {{file, 0, options_.sha256, [remote] { return Result<RemoteFile>(remote); }}});
  }

  struct Wanted {
    std::string path;
    uint64_t size;  // 0: not known
    std::string sha256;
    std::function<Result<RemoteFile>()> locate;
  };

  // Downloads what is not there yet, under the model's lock.
  Result<void> store(StoredModel model, const std::vector<Wanted>& files) {
    model.key = store_.key_of(model.from);
    model.name = name_;
    const auto on_wait = [] {
      say("Another process is downloading this model; waiting for it ...");
    };
    auto lock = store_.lock(model.key, on_wait, interrupted);
    if (!lock) {
      return lock.error().in(options_.name);
    }
    const std::filesystem::path folder = store_.folder(model.key);
    RETURN_IF_ERROR(make_private_folders(folder));
    const StoredModel before = store_.read(model.key).value_or(StoredModel());
    uint64_t needed = 0;
    for (const Wanted& file : files) {
      std::error_code none;
      const uint64_t part = std::filesystem::file_size(part_path(folder / file.path), none);
      const uint64_t have = already(before, folder, file) ? file.size : none ? 0 : part;
      needed += file.size - std::min(have, file.size);
    }
    RETURN_IF_ERROR(check_space(folder, needed));
    bool news = false;
    for (const Wanted& file : files) {
      if (const StoredFile* here = already(before, folder, file)) {
        model.files.push_back(*here);
        continue;
      }
      news = true;
      RETURN_IF_ERROR(store_.write(model));  // a download that is cut here shows in `tern list`
      ASSIGN_OR_RETURN(const StoredFile fetched, fetch(folder, file));
      model.files.push_back(fetched);
    }
    model.complete = true;
    describe(store_, model);
    RETURN_IF_ERROR(store_.write(model));
    say(news ? "Verified and stored. Use it with -m " + model.called()
             : "Already here, and up to date.");
    print_name(store_.path(model).string());
    return {};
  }

  // A file of an earlier pull that is still what is wanted; null otherwise.
  static const StoredFile* already(const StoredModel& before, const std::filesystem::path& folder,
                                   const Wanted& file) {
    const auto found = std::ranges::find(before.files, file.path, &StoredFile::path);
    std::error_code error;
    if (found == before.files.end() || file.sha256.empty() || found->sha256 != file.sha256 ||
        std::filesystem::file_size(folder / file.path, error) != found->size || error) {
      return nullptr;
    }
    return &*found;
  }

  // The folders that a file's path names within the model's folder; none may be a link out of it.
  static Result<void> make_folders_within(const std::filesystem::path& folder,
                                          const std::filesystem::path& file) {
    std::filesystem::path place = folder;
    for (const std::filesystem::path& part : file.parent_path()) {
      place /= part;
      RETURN_IF_ERROR(make_private_folders(place));
      RETURN_IF_ERROR(check_own_folder(place, false));
    }
    return {};
  }

  Result<StoredFile> fetch(const std::filesystem::path& folder, const Wanted& file) {
    ASSIGN_OR_RETURN(const RemoteFile remote, file.locate());
    const std::filesystem::path target = folder / file.path;
    RETURN_IF_ERROR(make_folders_within(folder, file.path));
    std::error_code error;
    TransferMeter meter(file.path);
    DownloadOptions options;
    options.cancelled = interrupted;
    options.retries = options_.retries;
    options.silence_ms = options_.silence * 1000;
    options.progress = [&](uint64_t done, std::optional<uint64_t> size) {
      meter.update(done, size);
    };
    options.notice = [&](const std::string& text) {
      meter.clear();
      say("note: " + text);
    };
    ASSIGN_OR_RETURN(const std::string sha256, download(transport_, remote, target, options));
    return StoredFile{file.path, std::filesystem::file_size(target, error), sha256};
  }

  const Options& options_;
  NotingTransport transport_;
  ModelStore store_;
  std::string name_;  // in the catalogue
};

Ending pull(Options options) {
  options.offline = options.offline || !offline_variable().empty();
  options.sha256 = lower(options.sha256);
  if (!options.sha256.empty() &&
      (options.sha256.size() != 64 ||
       options.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    return Error{"--sha256: expected 64 hexadecimal digits, found something else."};
  }
  catch_interrupts();
  Puller puller(options);
  const Result<void> done = puller.run();
  return done ? Ending() : Ending(Failure{done.error().message, puller.failure_kind()});
}

}  // namespace

Action declare_pull(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->name,
                 "A name of `tern list --all`, OWNER/NAME[@REVISION][:FILE], or an address")
      ->required()
      ->type_name("MODEL");
  app.add_option("--sha256", options->sha256,
                 "What the file must hash to, for addresses outside the hub")
      ->type_name("HEX");
  app.add_flag("--offline", options->offline,
               "Open no connection: only say whether the model is here");
  app.add_flag("--shared-folder", options->shared,
               "Use a models folder that other users can write to");
  app.add_option("--retries", options->retries, "Attempts that bring nothing new before giving up")
      ->check(in_range(0, 1000))
      ->type_name("N");
  app.add_option("--timeout", options->silence,
                 "Seconds of silence before an attempt counts as failed")
      ->check(in_range(1, 3600))
      ->type_name("N");
  return [options] { return pull(*options); };
}

}  // namespace tern::cli
