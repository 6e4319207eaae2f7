// tern perplexity: how well a model predicts a text, by the same windows as llama.cpp's tool, so that figures compare; and how far
// its predictions lie from those of another run.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/cli.h"
#include "tools/likelihood.h"
#include "tools/logits_file.h"
#include "tools/table.h"
#include "tools/text_input.h"

namespace tern::cli {
namespace {

constexpr int kDefaultContext = 512;

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int context = 0;  // 0: that of the run to compare with, else the default
  int chunks = -1;
  bool force = false;
  std::string save;     // where to keep the logits
  std::string compare;  // logits of another run
  std::string format = "text";
};

// Windows of `context` tokens, one after another; each begins with BOS in place of its first token if the model wants one.
// Only the second half of a window counts: there every prediction has at least half a window before it.
struct Windows {
  std::vector<TokenId> tokens;
  int context = 0;
  int chunks = 0;

  int first() const { return context / 2; }
  std::span<const TokenId> leading(int count) const {
    return std::span(tokens).first(static_cast<size_t>(context) * static_cast<size_t>(count));
  }
};

// What a run is compared by.
struct Comparison {
  Average divergence, same_top, base_loss, loss_difference;
  std::vector<double> divergences;
};

Result<void> compare(Comparison& found, std::span<const float> base, std::span<const float> logits,
                     TokenId next) {
  const double divergence = kl_divergence(base, logits);
  if (!std::isfinite(divergence)) {
    return Error{
        "prediction " + std::to_string(found.divergences.size() + 1) +
        ": expected finite logits, found others, saved or computed. Save the logits again."};
  }
  const double base_loss = loss_of(base, next);
  found.divergence.add(divergence);
  found.divergences.push_back(divergence);
  found.same_top.add(likeliest(base) == likeliest(logits) ? 1 : 0);
  found.base_loss.add(base_loss);
  found.loss_difference.add(loss_of(logits, next) - base_loss);
  return {};
}

// Calls `each` for every prediction that counts, with the token that comes next, until it fails or the user interrupts.
Result<void> predict(Session& session, const Windows& windows,
                     const std::function<Result<void>(std::span<const float>, TokenId)>& each) {
  const auto context = static_cast<size_t>(windows.context);
  const auto first = static_cast<size_t>(windows.first());
  ProgressBar bar("perplexity");
  Result<void> result;
  for (int chunk = 0; chunk < windows.chunks && result; ++chunk) {
    const std::span<const TokenId> window = windows.leading(chunk + 1).last(context);
    size_t position = 0;
    session.rewind(0);
    const bool finished = session.append_each(
        window,
        [&](std::span<const float> logits) {
          if (position >= first && position + 1 < context) {
            result = each(logits, window[position + 1]);
          }
          ++position;
          bar.update((chunk + static_cast<double>(position) / static_cast<double>(context)) /
                     windows.chunks);
          return result.has_value();
        },
        [] { return !stop_wanted(); });
    if (!finished) {
      break;
    }
  }
  return result;
}

Result<std::vector<TokenId>> tokens_of(const PerplexityOptions& options, const std::string& text,
                                       const Tokenizer& tokenizer, int context) {
  std::vector<TokenId> tokens =
      tokenizer.encode(text, EncodeOptions{.add_special = true, .parse_special = false});
  if (tokens.size() < 2 * static_cast<size_t>(context)) {
    return Error{options.file + ": expected at least two windows of " + std::to_string(context) +
                 " tokens, found " + std::to_string(tokens.size()) +
                 " tokens. Use a longer text or a smaller -c."};
  }
  return tokens;
}

Windows cut(std::vector<TokenId> tokens, int context, int chunks, TokenId bos) {
  const auto possible = static_cast<int>(tokens.size() / static_cast<size_t>(context));
  if (bos >= 0 && tokens[0] == bos) {
    for (int chunk = 0; chunk < possible; ++chunk) {
      tokens[static_cast<size_t>(chunk) * static_cast<size_t>(context)] = bos;
    }
  }
  return {.tokens = std::move(tokens),
          .context = context,
          .chunks = chunks > 0 ? std::min(chunks, possible) : possible};
}

// The saved run and this one must predict the same tokens. Sets how many windows to compare.
Result<void> match(const PerplexityOptions& options, const LogitsHead& base, int32_t vocab,
                   Windows& windows) {
  const auto refuse = [&](const std::string& what, const std::string& expected,
                          const std::string& found, const std::string& advice) {
    return Error{options.compare + ": expected " + what + expected + ", found " + found + ". " +
                 advice};
  };
  if (base.vocab != vocab) {
    return refuse("logits for this model's vocabulary of ", std::to_string(vocab),
                  std::to_string(base.vocab), "Only models of one tokenizer compare.");
  }
  if (base.context != windows.context || base.first != windows.first()) {
    return refuse("windows of ", std::to_string(windows.context) + " tokens",
                  std::to_string(base.context), "Use the -c that the logits were saved with.");
  }
  if (options.chunks > base.chunks) {
    return refuse("the --chunks ", std::to_string(options.chunks), std::to_string(base.chunks),
                  "Use fewer, or save the logits again.");
  }
  const size_t needed = static_cast<size_t>(base.chunks) * static_cast<size_t>(base.context);
  if (needed > windows.tokens.size() || digest_of(windows.leading(base.chunks)) != base.digest) {
    return refuse(
        "logits for the tokens of ", options.file, "those for others",
        "Use the text that the logits were saved with, and a model of the same tokenizer.");
  }
  windows.chunks = options.chunks > 0 ? options.chunks : base.chunks;
  return {};
}

// exp of a mean of logarithms, with the error that follows from that of the mean.
struct Exponential {
  explicit Exponential(const Average& logarithms)
      : value(std::exp(logarithms.mean())), error(value * logarithms.standard_error()) {}
  double value;
  double error;
};

void print(const Average& losses, int context) {
  const Exponential perplexity(losses);
  print_report_f(
      "perplexity %.4f +/- %.4f (%.4f nats/token; %lld predictions in windows of %d tokens%s)\n",
      perplexity.value, perplexity.error, losses.mean(), static_cast<long long>(losses.count()),
      context, interrupted() ? "; interrupted" : "");
}

// The divergences are sorted.
void print(const Comparison& found) {
  const Exponential base(found.base_loss);
  const Exponential ratio(found.loss_difference);
  const std::vector<double>& all = found.divergences;
  print_report_f("base perplexity %.4f +/- %.4f (ratio %.6f +/- %.6f)\n", base.value, base.error,
                 ratio.value, ratio.error);
  print_report_f(
      "KL divergence %.6g +/- %.6g nats/token (median %.6g, 90 %% %.6g, 99 %% %.6g, maximum "
      "%.6g)\n",
      found.divergence.mean(), found.divergence.standard_error(), quantile(all, 0.5),
      quantile(all, 0.9), quantile(all, 0.99), all.back());
  print_report_f("same top token %.4f %% +/- %.4f %%\n", 100 * found.same_top.mean(),
                 100 * found.same_top.standard_error());
}

using Json = nlohmann::ordered_json;

Json json_of(const Average& losses, int context) {
  const Exponential perplexity(losses);
  return {{"perplexity", perplexity.value},
          {"perplexity_error", perplexity.error},
          {"nats_per_token", losses.mean()},
          {"predictions", losses.count()},
          {"context", context},
          {"interrupted", interrupted()}};
}

// The divergences are sorted.
Json json_of(const Comparison& found) {
  const Exponential base(found.base_loss);
  const Exponential ratio(found.loss_difference);
  const std::vector<double>& all = found.divergences;
  return {{"base_perplexity", base.value},
          {"base_perplexity_error", base.error},
          {"ratio", ratio.value},
          {"ratio_error", ratio.error},
          {"kl_divergence", found.divergence.mean()},
          {"kl_divergence_error", found.divergence.standard_error()},
          {"kl_divergence_median", quantile(all, 0.5)},
          {"kl_divergence_90", quantile(all, 0.9)},
          {"kl_divergence_99", quantile(all, 0.99)},
          {"kl_divergence_maximum", all.back()},
          {"same_top", found.same_top.mean()},
          {"same_top_error", found.same_top.standard_error()}};
}

void report(const PerplexityOptions& options, const Average& losses, int context,
            const Comparison* found) {
  if (options.format == "json") {
    Json json = json_of(losses, context);
    if (found != nullptr) {
      json.update(json_of(*found));
    }
    print_json(json);
    return;
  }
  print(losses, context);
  if (found != nullptr) {
    print(*found);
  }
}

// Of llama.cpp's spelling, --kl-divergence names no file: it means that of --kl-divergence-base, which is read then, not written.
Result<void> settle_files(PerplexityOptions& options, bool comparing) {
  if (comparing && options.compare.empty()) {
    std::swap(options.compare, options.save);
  }
  if (comparing && options.compare.empty()) {
    return Error{"--kl: expected a FILE of --save-logits, found none."};
  }
  if (comparing && !options.save.empty()) {
    return Error{"Expected --save-logits FILE or --kl FILE, found both. Use one run for each."};
  }
  if (options.format == "json" && options.save == "-") {
    return Error{"Expected -o json or --save-logits -, found both: both write to standard output."};
  }
  return {};
}

Result<std::optional<LogitsWriter>> start_saving(std::optional<OutputFile> file, int32_t vocab,
                                                 const Windows& windows) {
  if (!file) {
    return std::optional<LogitsWriter>();
  }
  ASSIGN_OR_RETURN(LogitsWriter writer,
                   LogitsWriter::create(std::move(*file),
                                        {.vocab = vocab,
                                         .context = windows.context,
                                         .first = windows.first(),
                                         .chunks = windows.chunks,
                                         .digest = digest_of(windows.leading(windows.chunks))}));
  return std::optional<LogitsWriter>(std::move(writer));
}

Result<void> perplexity(const PerplexityOptions& options) {
  std::optional<LogitsFile> base;
  if (!options.compare.empty()) {
    ASSIGN_OR_RETURN(base, LogitsFile::open(options.compare));
  }
  std::optional<OutputFile> saved;
  if (!options.save.empty()) {
    ASSIGN_OR_RETURN(OutputFile file, open_output(options.save, options.force));
    saved.emplace(std::move(file));
  }
  const int standard = base ? base->head().context : kDefaultContext;
  const int asked = options.context > 0 ? options.context : standard;
  ASSIGN_OR_RETURN(const std::string text, read_text_input(options.file, size_t{4} << 30));
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  const int32_t vocab = loaded.model->config().vocab;
  const Tokenizer& tokenizer = loaded.model->tokenizer();
  ASSIGN_OR_RETURN(std::vector<TokenId> tokens, tokens_of(options, text, tokenizer, asked));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, asked));
  Windows windows = cut(std::move(tokens), session.context(), options.chunks, tokenizer.bos());
  if (base) {
    RETURN_IF_ERROR(match(options, base->head(), vocab, windows));
  }
  ASSIGN_OR_RETURN(std::optional<LogitsWriter> writer,
                   start_saving(std::move(saved), vocab, windows));
  catch_interrupts();
  Average losses;
  Comparison comparison;
  RETURN_IF_ERROR(predict(session, windows, [&](std::span<const float> logits, TokenId next) {
    losses.add(loss_of(logits, next));
    if (writer) {
      return writer->add(logits);
    }
    return base ? compare(comparison, base->next(), logits, next) : Result<void>();
  }));
  if (losses.count() == 0) {
    return Error{"Interrupted before the first prediction."};
  }
  std::ranges::sort(comparison.divergences);
  report(options, losses, windows.context, base ? &comparison : nullptr);
  if (writer && interrupted()) {
    return Error{options.save + ": not written, as the run was interrupted."};
  }
  return writer ? writer->commit() : Result<void>();
}

}  // namespace

Action declare_perplexity(CLI::App& app) {
  const auto options = std::make_shared<PerplexityOptions>();
  options->model.declare(app);
  app.add_option("-f,--file", options->file, "Text to predict")->required()->type_name("FILE");
  app.add_option("-c,--ctx-size", options->context,
                 "Tokens in a window; default: " + std::to_string(kDefaultContext) +
                     ", with --kl that of its FILE")
      ->check(in_range(8, 1 << 24));
  app.add_option("-o,--output", options->format, "text, or json: all figures in one object")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  app.add_option("--chunks", options->chunks, "Windows to measure; -1 (default): all")
      ->check(in_range(-1, 1 << 30))
      ->type_name("N");
  app.add_option("--save-logits,--save-all-logits,--kl-divergence-base", options->save,
                 "Keep the logits, to compare other runs with: 4 bytes a vocabulary entry and "
                 "prediction; -: to standard output")
      ->type_name("FILE");
  declare_force(app, options->force);
  const CLI::Option* compare =
      app.add_option("--kl,--kl-divergence", options->compare,
                     "Compare with a run's logits; without FILE with those of "
                     "--kl-divergence-base, which are read then")
          ->type_name("FILE")
          ->expected(0, 1);
  return [options, compare]() -> Result<void> {
    RETURN_IF_ERROR(settle_files(*options, compare->count() > 0));
    return perplexity(*options);
  };
}

}  // namespace tern::cli
