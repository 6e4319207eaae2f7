#include "tools/tuning.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/environment.h"
#include "engine/base/file.h"
#include "engine/base/output_file.h"
#include "engine/base/parallel.h"
#include "kernels/cpu.h"
#include "kernels/select.h"
#include "tools/version.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostCount = 1 << 16;  // of cores or threads

std::optional<TernaryKind> kind_named(const std::string& name) {
  const auto* const end = std::end(kTernaryKindNames);
  const auto* const found = std::find(std::begin(kTernaryKindNames), end, name);
  if (found == end) {
    return {};
  }
  return static_cast<TernaryKind>(found - std::begin(kTernaryKindNames));
}

const char* name_of(TernaryKind kind) {
  return kTernaryKindNames[static_cast<int>(kind)];
}

// A count of cores or threads; -1 if the value is none. (Converting any number is undefined where it does not fit.)
int count(const Json& value) {
  return value.is_number_unsigned() && value <= kMostCount ? value.get<int>() : -1;
}

// Throws nlohmann's exceptions where a value is missing or of another type.
StoredTuning read(const Json& json, const TuningKey& key) {
  const TuningKey made_for{json.at("cpu"), count(json.at("cores")), json.at("version")};
  if (made_for.cores < 0) {
    return {{}, "is damaged"};
  }
  if (made_for != key) {
    return {{},
            "was made for " + made_for.cpu + ", " + std::to_string(made_for.cores) +
                " cores, by tern " + made_for.version};
  }
  const std::string table = json.at("kernels");
  const std::optional<TernaryKind> cached = kind_named(json.at("cached"));
  const std::optional<TernaryKind> streamed = kind_named(json.at("streamed"));
  // The sign kernel cannot stand for weights with zeros.
  const bool known =
      cached && streamed && cached != TernaryKind::kSign && streamed != TernaryKind::kSign;
  const Tuning tuning{find_table(table), cached.value_or(TernaryKind::kTwoBit),
                      streamed.value_or(TernaryKind::kTwoBit), count(json.at("threads")),
                      count(json.at("batch_threads"))};
  if (!known || tuning.threads < 1 || tuning.batch_threads < 1) {
    return {{}, "is damaged"};
  }
  if (tuning.kernels == nullptr) {
    return {{}, "asks for " + table + " kernels, which this CPU cannot run"};
  }
  return {tuning, ""};
}

}  // namespace

std::string describe(const Tuning& tuning) {
  return std::string(tuning.kernels->name) + " kernels; " + name_of(tuning.streamed) +
         " for weights that stream from memory, " + name_of(tuning.cached) +
         " for weights that stay in the caches; " + std::to_string(tuning.threads) +
         " threads to generate, " + std::to_string(tuning.batch_threads) + " for prompts";
}

TuningKey this_machine() {
  return {cpu_name(), usable_cpu_count(), kVersion};
}

std::filesystem::path tuning_path() {
  return xdg_file("XDG_CACHE_HOME", ".cache", "tune.json");
}

StoredTuning load_tuning(const std::filesystem::path& path, const TuningKey& key) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return {};
  }
  StoredTuning stored;
  const Result<std::string> text = read_text_file(path, size_t{1} << 20);
  try {
    stored = text ? read(Json::parse(*text), key) : StoredTuning{{}, "cannot be read"};
  } catch (const Json::exception&) {
    stored = {{}, "is damaged"};
  }
  if (!stored.notice.empty()) {
    stored.notice = path.string() + " " + stored.notice +
                    ", and is not used. `tern tune` measures anew, `tern tune --reset` removes it.";
  }
  return stored;
}

Result<void> save_tuning(const std::filesystem::path& path, const TuningKey& key,
                         const Tuning& tuning) {
  if (path.empty()) {
    return Error{"the tuning: " + std::string(kNoHomeFolder)};
  }
  RETURN_IF_ERROR(make_private_folders(path.parent_path()));
  const Json json = {{"cpu", key.cpu},
                     {"cores", key.cores},
                     {"version", key.version},
                     {"kernels", tuning.kernels->name},
                     {"cached", name_of(tuning.cached)},
                     {"streamed", name_of(tuning.streamed)},
                     {"threads", tuning.threads},
                     {"batch_threads", tuning.batch_threads}};
  return write_file_atomically(path,
                               json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tern::cli
