// tern eval: benchmarks by likelihood, as lm-evaluation-harness computes them.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/file.h"
#include "engine/base/input_file.h"
#include "tools/cli.h"
#include "tools/eval_score.h"
#include "tools/likelihood.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
  ModelOptions model;
  std::string task;
  std::vector<std::string> files;
  int limit = 0;
  int context = 0;
  std::string format = "text";
  std::string samples;
  bool force = false;
};

struct EvalFile {
  std::string name;
  std::vector<EvalItem> items;
};

// What was found over some items.
struct EvalResult {
  Average acc, acc_norm, log_likelihood;
};

Result<EvalFile> read_items(const EvalTask& task, const std::string& path, int limit) {
  ASSIGN_OR_RETURN(const std::string text, read_stream_or_file(path, size_t{1} << 30));
  EvalFile file{path, {}};
  std::string_view rest = text;
  for (int line = 1; !rest.empty() && (limit == 0 || static_cast<int>(file.items.size()) < limit);
       ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    Result<EvalItem> item = read_eval_item(task, one);
    if (!item) {
      return item.error().in(path + ": line " + std::to_string(line));
    }
    file.items.push_back(std::move(*item));
  }
  if (file.items.empty()) {
    return Error{path + ": expected a JSON object a line, found no line."};
  }
  return file;
}

size_t best_of(const std::vector<double>& values) {
  return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
}

void judge(const EvalTask& task, const EvalItem& item, const std::vector<EvalScore>& scores,
           EvalResult& result) {
  if (task.kind == EvalTask::Kind::kLastWord) {
    result.acc.add(scores[0].greedy ? 1 : 0);
    result.log_likelihood.add(scores[0].log_likelihood);
    return;
  }
  std::vector<double> plain;
  std::vector<double> normed;
  for (size_t i = 0; i < scores.size(); ++i) {
    plain.push_back(scores[i].log_likelihood);
    if (task.normed) {
      normed.push_back(plain.back() / static_cast<double>(std::max<int64_t>(item.lengths[i], 1)));
    }
  }
  const auto gold = static_cast<size_t>(item.gold);
  result.acc.add(best_of(plain) == gold ? 1 : 0);
  if (task.normed) {
    result.acc_norm.add(best_of(normed) == gold ? 1 : 0);
  }
}

Json sample_of(const EvalItem& item, const std::vector<EvalScore>& scores) {
  Json sample = {{"gold", item.gold}};
  for (const EvalScore& score : scores) {
    sample["log_likelihoods"].push_back(score.log_likelihood);
    sample["greedy"].push_back(score.greedy);
  }
  return sample;
}

struct Figure {
  const char* name;
  double value;
  double error;
};

std::vector<Figure> figures_of(const EvalTask& task, const EvalResult& result) {
  std::vector<Figure> figures;
  if (task.kind == EvalTask::Kind::kLastWord) {
    // Of exp(-mean) by the slope of exp at the mean; the harness draws samples instead.
    const double perplexity = std::exp(-result.log_likelihood.mean());
    figures.push_back(
        {"perplexity", perplexity, perplexity * result.log_likelihood.standard_error()});
  }
  figures.push_back({"acc", result.acc.mean(), result.acc.standard_error()});
  if (task.normed) {
    figures.push_back({"acc_norm", result.acc_norm.mean(), result.acc_norm.standard_error()});
  }
  return figures;
}

Json json_of(const EvalTask& task, const std::string& file, const EvalResult& result) {
  Json row = {{"task", task.name}, {"file", file}, {"items", result.acc.count()}};
  for (const Figure& figure : figures_of(task, result)) {
    row[figure.name] = figure.value;
    row[std::string(figure.name) + "_stderr"] = figure.error;
  }
  return row;
}

void print(const EvalTask& task, const std::string& file, const EvalResult& result) {
  print_report_f("%s, %lld items of %s\n", task.name, static_cast<long long>(result.acc.count()),
                 file.c_str());
  for (const Figure& figure : figures_of(task, result)) {
    print_report_f("  %-10s %.4f +/- %.4f\n", figure.name, figure.value, figure.error);
  }
}

// Items in turn, until all are judged or Ctrl-C is pressed.
class Evaluation {
 public:
  Evaluation(const EvalTask& task, Session& session, const std::vector<EvalFile>& files)
      : task_(task), scorer_(session) {
    for (const EvalFile& file : files) {
      total_ += file.items.size();
    }
  }

  // False if it was interrupted.
  Result<bool> run(const EvalFile& file, EvalResult& result) {
    for (const EvalItem& item : file.items) {
      std::vector<EvalScore> scores;
      for (const EvalRequest& request : item.requests) {
        ASSIGN_OR_RETURN(const std::optional<EvalScore> score,
                         scorer_.score(request, [] { return !stop_wanted(); }));
        if (!score) {
          return false;
        }
        scores.push_back(*score);
      }
      judge(task_, item, scores, result);
      judge(task_, item, scores, all_);
      samples_ += sample_of(item, scores).dump() + "\n";
      bar_.update(static_cast<double>(++done_) / static_cast<double>(total_));
    }
    return true;
  }

  const EvalResult& all() const { return all_; }
  const std::string& samples() const { return samples_; }

 private:
  const EvalTask& task_;
  EvalScorer scorer_;
  EvalResult all_;
  std::string samples_;
  size_t done_ = 0;
  size_t total_ = 0;
  ProgressBar bar_{"eval"};
};

Result<void> eval(const EvalOptions& options) {
  if (options.format != "text" && options.format != "json") {
    return Error{"-o: expected text or json, found " + options.format + "."};
  }
  ASSIGN_OR_RETURN(const EvalTask task, find_eval_task(options.task));
  std::vector<EvalFile> files;
  for (const std::string& path : options.files) {
    ASSIGN_OR_RETURN(EvalFile file, read_items(task, path, options.limit));
    files.push_back(std::move(file));
  }
  std::optional<OutputFile> output;
  if (!options.samples.empty()) {
    ASSIGN_OR_RETURN(OutputFile file, open_output(options.samples, options.force));
    output.emplace(std::move(file));
  }
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context));
  catch_interrupts();
  Json rows = Json::array();
  std::vector<std::pair<std::string, EvalResult>> results;
  std::string samples;
  {
    Evaluation evaluation(task, session, files);
    for (const EvalFile& file : files) {
      EvalResult result;
      ASSIGN_OR_RETURN(const bool finished, evaluation.run(file, result));
      if (result.acc.count() > 0) {
        results.emplace_back(file.name, result);
      }
      if (!finished) {
        break;
      }
    }
    if (results.empty()) {
      return Error{"Interrupted before the first item."};
    }
    if (results.size() > 1) {
      results.emplace_back("all files", evaluation.all());
    }
    samples = evaluation.samples();
  }
  if (output) {
    RETURN_IF_ERROR(output->write(std::as_bytes(std::span(samples))));
    RETURN_IF_ERROR(output->commit());
  }
  for (const auto& [name, result] : results) {
    if (options.format == "json") {
      rows.push_back(json_of(task, name, result));
    } else {
      print(task, name, result);
    }
  }
  if (options.format == "json") {
    print_json_text(rows.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  if (interrupted()) {
    print_message_f("note: interrupted; the figures are of the items reached\n");
  }
  return {};
}

}  // namespace

Action declare_eval(CLI::App& app) {
  const auto options = std::make_shared<EvalOptions>();
  options->model.declare(app);
  app.add_option("--task", options->task, "arc_easy, piqa, hellaswag, winogrande, lambada or blimp")
      ->required()
      ->type_name("NAME");
  app.add_option(
         "-f,--file", options->files,
         "Items, a JSON object a line (.jsonl), in the fields of the data set; several files "
         "are also judged together")
      ->required()
      ->type_name("FILE...");
  app.add_option("--limit", options->limit, "Items of each file, from the first on; default: all")
      ->check(in_range(1, 1 << 30))
      ->type_name("N");
  declare_context(app, options->context);
  app.add_option("-o,--output", options->format, "text or json")
      ->type_name("FORMAT")
      ->capture_default_str();
  app.add_option(
         "--log-samples", options->samples,
         "Write the log-likelihoods of every item to this file, a JSON object a line; -: to "
         "standard output")
      ->type_name("FILE");
  declare_force(app, options->force);
  return [options] { return eval(*options); };
}

}  // namespace tern::cli
