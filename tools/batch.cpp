// tern batch: many prompts from a file, in the form of OpenAI's batch API.

#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <thread>

#include "engine/base/output_file.h"
#include "remote/api_error.h"
#include "remote/digest.h"
#include "tools/batch_journal.h"
#include "tools/batch_line.h"
#include "tools/console.h"
#include "tools/ending.h"
#include "tools/local_model.h"
#include "tools/offload.h"
#include "tools/remote_options.h"
#include "tools/sampling_options.h"
#include "tools/speculation_options.h"
#include "tools/table.h"
#include "tools/text_input.h"

namespace tern::cli {
namespace {

struct BatchOptions {
  ModelOptions model;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  RemoteOptions remote;
  std::string input;
  std::string output;
  int context = 0;
  int parallel = 4;
  bool force = false;
};

// The input's lines without their ends; empty lines count, so that numbers are an editor's, but ask
// for nothing.
struct InputLine {
  std::string_view text;
  int64_t number = 0;  // from 1
};

std::vector<InputLine> lines_of(std::string_view text) {
  std::vector<InputLine> lines;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.find_first_not_of(" \t") != std::string_view::npos) {
      lines.push_back({line, number});
    }
  }
  return lines;
}

// The input lies in memory; its answers do not.
constexpr size_t kMostInputBytes = size_t{2} << 30;

// A failure that the remaining lines would share: going on would only fill the output with it.
bool ends_batch(ApiErrorClass kind) {
  return kind == ApiErrorClass::kAuth || kind == ApiErrorClass::kPermission ||
         kind == ApiErrorClass::kQuota || kind == ApiErrorClass::kCancelled;
}

using Ask = std::function<ApiOutcome(const Request& request)>;

class Batch {
 public:
  Batch(const std::vector<InputLine>& lines, const Request& usual, BatchJournal journal, Ask ask)
      : lines_(lines), usual_(usual), journal_(std::move(journal)), ask_(std::move(ask)) {}

  // Answers what is left, `parallel` lines at a time.
  void run(int parallel) {
    std::vector<std::thread> threads;
    for (int i = 1; i < parallel; ++i) {
      threads.emplace_back([this] { work(); });
    }
    work();
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

  bool complete() const { return done() == lines_.size(); }
  size_t done() const { return journal_.resumed() + answered_ + failed_; }
  size_t answered() const { return answered_; }
  size_t failed() const { return failed_; }
  const std::optional<Failure>& stopped() const { return stopped_; }
  BatchJournal& journal() { return journal_; }

 private:
  void work() {
    while (const std::optional<size_t> index = next()) {
      answer(*index);
    }
  }

  std::optional<size_t> next() {
    const std::lock_guard lock(mutex_);
    while (next_ < lines_.size() && journal_.has(next_)) {
      ++next_;
    }
    if (stopped_ || stop_wanted() || next_ == lines_.size()) {
      return {};
    }
    return next_++;
  }

  void answer(size_t index) {
    const InputLine& line = lines_[index];
    const Result<BatchRequest> asked = parse_batch_line(line.text, usual_);
    if (!asked) {
      const std::string where = "line " + std::to_string(line.number) + ": ";
      store(index,
            error_line(custom_id_of(line.text),
                       {"invalid_request", where + asked.error().message, 0}, line.number),
            true);
      return;
    }
    const ApiOutcome outcome = ask_(asked->request);
    if (!outcome.error) {
      store(index, answer_line(*asked, outcome.completion, line.number, std::time(nullptr)), false);
      return;
    }
    const ApiError& error = *outcome.error;
    if (ends_batch(error.kind) || stop_wanted()) {
      const std::lock_guard lock(mutex_);
      if (!stopped_ && error.kind != ApiErrorClass::kCancelled && !stop_wanted()) {
        stopped_ = failure_of(error);
      }
      return;
    }
    store(index,
          error_line(asked->custom_id, {name_of(error.kind), error.message, error.status},
                     line.number),
          true);
  }

  void store(size_t index, const nlohmann::ordered_json& output, bool failed) {
    const std::string text =
        output.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    const std::lock_guard lock(mutex_);
    if (const Result<void> stored = journal_.add(index, text, failed); !stored) {
      stopped_ = Failure{stored.error().message, FailureKind::kMachine};
      return;
    }
    ++(failed ? failed_ : answered_);
  }

  const std::vector<InputLine>& lines_;
  const Request& usual_;
  std::mutex mutex_;  // of all below
  BatchJournal journal_;
  Ask ask_;
  size_t next_ = 0;
  size_t answered_ = 0;
  size_t failed_ = 0;
  std::optional<Failure> stopped_;  // why the rest was left
};

// Answers by this machine alone, without router or ledger.
Result<Ask> ask_here(const BatchOptions& options) {
  ASSIGN_OR_RETURN(const ModelNames names, options.remote.names(options.model.path, nullptr));
  RETURN_IF_ERROR(options.remote.calls.expect_none());
  ModelOptions model = options.model;
  model.path = names.local;
  ASSIGN_OR_RETURN(auto opened, open_local_model(model, options.speculation, options.context));
  const std::shared_ptr<LocalCompleter> completer = std::move(opened);
  RETURN_IF_ERROR(check_writes_text(completer->session().model()));
  const std::string name = completer->session().model().file().path().filename().string();
  const auto mutex = std::make_shared<std::mutex>();
  return Ask([completer, name, mutex](const Request& request) {
    ApiOutcome outcome;
    if (!request.extra.empty()) {
      outcome.error.emplace();
      outcome.error->kind = ApiErrorClass::kBadRequest;
      outcome.error->message =
          "this machine's models do not take these members of the body: " + request.extra + ".";
      return outcome;
    }
    const std::lock_guard lock(*mutex);  // one answer at a time, on all threads
    Result<Completion> answered =
        completer->complete(request, [](std::string_view) { return !stop_wanted(); });
    if (!answered) {
      outcome.error.emplace();
      outcome.error->kind = ApiErrorClass::kLocal;
      outcome.error->message = answered.error().message;
    } else if (answered->reason == StopReason::kCancelled) {
      outcome.error.emplace();  // half an answer is none
      outcome.error->kind = ApiErrorClass::kCancelled;
    } else {
      outcome.completion = std::move(*answered);
      outcome.completion.served.provider = kLocalName;
      outcome.completion.served.model = name;
    }
    return outcome;
  });
}

// Each line is asked by the router, for the model that it names.
Result<Ask> ask_others(const BatchOptions& options, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(const ModelNames names, options.remote.names(options.model.path, &settings));
  ASSIGN_OR_RETURN(
      std::shared_ptr<Offload> offload,
      Offload::create(settings, options.model, names, options.speculation, options.context));
  ASSIGN_OR_RETURN(const std::string extra, options.remote.calls.extra());
  return Ask([offload, extra, named = names.remote](const Request& asked) {
    Request request = asked;
    // What the command line names is meant for every line.
    if (!named.empty()) {
      request.model = named;
    }
    if (request.extra.empty()) {
      request.extra = extra;
    }
    if (has_form_of_path(request.model)) {
      ApiOutcome outcome;
      outcome.error.emplace();
      outcome.error->kind = ApiErrorClass::kBadRequest;
      outcome.error->message =
          "body.model: expected the name of a provider's model, found a path, which is not sent "
          "to anybody. Name this machine's model with --local-model.";
      return outcome;
    }
    ApiOutcome outcome =
        offload->complete(request, [](std::string_view) { return !stop_wanted(); });
    if (!outcome.error && outcome.completion.reason == StopReason::kCancelled) {
      outcome.error.emplace();  // half an answer is none
      outcome.error->kind = ApiErrorClass::kCancelled;
    }
    return outcome;
  });
}

// What decides on an answer beside its line: with another of these, lines are asked again.
std::string fingerprint(const BatchOptions& options, const Request& usual) {
  const SamplingParams& sampling = usual.sampling;
  nlohmann::json all = {options.model.path,
                        options.remote.route,
                        options.remote.provider,
                        options.remote.local_model,
                        options.remote.remote_model,
                        options.model.lora,
                        sampling.temperature,
                        sampling.top_k,
                        sampling.top_p,
                        sampling.min_p,
                        sampling.repeat_penalty,
                        sampling.presence_penalty,
                        sampling.frequency_penalty,
                        sampling.repeat_last_n,
                        sampling.logit_bias,
                        usual.max_tokens,
                        usual.stop,
                        usual.ignore_eos};
  if (sampling.seed_given) {
    all.push_back(sampling.seed);
  }
  return all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<std::string> keys_of(const std::vector<InputLine>& lines, const std::string& settings) {
  std::vector<std::string> keys;
  for (const InputLine& line : lines) {
    Digest digest = Digest::sha256();
    digest.add(settings);
    digest.add(line.text);
    keys.push_back(digest.finish());
  }
  return keys;
}

// The output in the order of the input, all of it or nothing.
Result<void> write_output(const BatchOptions& options, Batch& batch, size_t lines) {
  ASSIGN_OR_RETURN(OutputFile output,
                   OutputFile::create(options.output, {.replace = options.force}));
  for (size_t i = 0; i < lines; ++i) {
    ASSIGN_OR_RETURN(std::string line, batch.journal().output(i));
    line += '\n';
    RETURN_IF_ERROR(output.write(std::as_bytes(std::span(line))));
  }
  RETURN_IF_ERROR(output.commit());
  batch.journal().remove();
  return {};
}

Result<void> check_output(const BatchOptions& options) {
  std::error_code ignored;
  if (options.output == "-" || options.input == options.output) {
    return Error{"Expected an output file beside the input: a batch keeps there what is done."};
  }
  if (!options.force && std::filesystem::exists(options.output, ignored)) {
    return Error{options.output +
                 ": this file exists. Give another name, or --force to replace it."};
  }
  return {};
}

std::string stop_message(const Batch& batch, size_t lines, const std::string& why) {
  return why + " " + std::to_string(batch.done()) + " of " + std::to_string(lines) +
         " lines are done; the same command goes on from there.";
}

Ending run_batch(const BatchOptions& options) {
  RETURN_IF_ERROR(check_output(options));
  ASSIGN_OR_RETURN(const std::string text, read_text_input(options.input, kMostInputBytes));
  const std::vector<InputLine> lines = lines_of(text);
  if (lines.empty()) {
    return Error{options.input + ": expected a request on each line, found none."};
  }
  Request usual;
  RETURN_IF_ERROR(options.sampling.apply(usual));
  usual.local_only = options.remote.local_only;
  ASSIGN_OR_RETURN(
      BatchJournal journal,
      BatchJournal::open(options.output + ".part", keys_of(lines, fingerprint(options, usual))));
  if (journal.resumed() > 0) {
    print_notice("going on: " + std::to_string(journal.resumed()) + " of " +
                 std::to_string(lines.size()) + " lines are done.");
  }
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> others, options.remote.others());
  ASSIGN_OR_RETURN(Ask ask, others ? ask_others(options, *others) : ask_here(options));
  catch_interrupts();
  Batch batch(lines, usual, std::move(journal), std::move(ask));
  batch.run(others ? options.parallel : 1);
  if (batch.stopped()) {
    return Failure{stop_message(batch, lines.size(), batch.stopped()->message),
                   batch.stopped()->kind};
  }
  if (!batch.complete()) {
    print_message(stop_message(batch, lines.size(), "Stopped."));
    return {};
  }
  RETURN_IF_ERROR(write_output(options, batch, lines.size()));
  print_message(std::to_string(lines.size() - batch.failed()) + " answered, " +
                std::to_string(batch.failed()) + " failed");
  return batch.failed() == 0
             ? Ending()
             : Ending(Failure{count_text(static_cast<int64_t>(batch.failed()), "line") +
                                  " failed; the errors are in " + options.output + ".",
                              FailureKind::kPartial});
}

}  // namespace

Action declare_batch(CLI::App& app) {
  const auto options = std::make_shared<BatchOptions>();
  app.add_option("input", options->input, "One request a line (JSONL); - reads standard input")
      ->required();
  app.add_option("output", options->output, "Where the answers go, in the order of the requests")
      ->required();
  options->model.declare(app);
  declare_context(app, options->context);
  options->sampling.declare(app);
  options->speculation.declare(app);
  options->remote.declare(app);
  declare_chat_template(app, options->model);
  app.add_option("--parallel", options->parallel,
                 "Calls to providers at once; this machine answers one after the other")
      ->check(in_range(1, 64))
      ->capture_default_str();
  app.add_flag("--force", options->force, "Replace an existing output file");
  return [options] { return run_batch(*options); };
}

}  // namespace tern::cli
