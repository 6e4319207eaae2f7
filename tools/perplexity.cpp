// tern perplexity: how well a model predicts a text, by the same windows as llama.cpp's tool, so that figures compare.

#include <cmath>
#include <cstdio>

#include "tools/cli.h"
#include "tools/likelihood.h"

namespace tern::cli {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int context = 512;
  int chunks = -1;
};

// Windows of `context` tokens, one after another; each begins with BOS in place of its first token if the model wants one.
// Only the second half of a window counts: there every prediction has at least half a window before it.
Result<Average> measure(Session& session, const std::vector<TokenId>& tokens, int chunks,
                        bool with_bos) {
  const auto context = static_cast<size_t>(session.context());
  Average losses;
  ProgressBar bar("perplexity");
  for (int chunk = 0; chunk < chunks; ++chunk) {
    std::vector<TokenId> window(
        tokens.begin() + static_cast<std::ptrdiff_t>(context) * chunk,
        tokens.begin() + static_cast<std::ptrdiff_t>(context) * (chunk + 1));
    if (with_bos) {
      window[0] = session.model().tokenizer().bos();
    }
    size_t position = 0;
    session.rewind(0);
    const bool finished = session.append_each(
        window,
        [&](std::span<const float> logits) {
          if (position >= context / 2 && position + 1 < context) {
            losses.add(loss_of(logits, window[position + 1]));
          }
          ++position;
          bar.update((chunk + static_cast<double>(position) / static_cast<double>(context)) /
                     chunks);
          return true;
        },
        [] { return !interrupted(); });
    if (!finished) {
      break;
    }
  }
  return losses;
}

Result<void> perplexity(const PerplexityOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(options.file, size_t{4} << 30));
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  const Tokenizer& tokenizer = loaded.model->tokenizer();
  const std::vector<TokenId> tokens =
      tokenizer.encode(text, EncodeOptions{.add_special = true, .parse_special = false});
  const bool with_bos = !tokens.empty() && tokenizer.bos() >= 0 && tokens[0] == tokenizer.bos();
  if (tokens.size() < 2 * static_cast<size_t>(options.context)) {
    return Error{options.file + ": expected at least two windows of " +
                 std::to_string(options.context) + " tokens, found " +
                 std::to_string(tokens.size()) + " tokens. Use a longer text or a smaller -c."};
  }
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context));
  const auto possible = static_cast<int>(tokens.size() / static_cast<size_t>(session.context()));
  const int chunks = options.chunks > 0 ? std::min(options.chunks, possible) : possible;
  catch_interrupts();
  ASSIGN_OR_RETURN(const Average losses, measure(session, tokens, chunks, with_bos));
  if (losses.count() == 0) {
    return Error{"Interrupted before the first prediction."};
  }
  const double value = std::exp(losses.mean());
  std::printf(
      "perplexity %.4f +/- %.4f (%.4f nats/token; %lld predictions in windows of %d tokens%s)\n",
      value, value * losses.standard_error(), losses.mean(), static_cast<long long>(losses.count()),
      session.context(), interrupted() ? "; interrupted" : "");
  return {};
}

}  // namespace

Action declare_perplexity(CLI::App& app) {
  const auto options = std::make_shared<PerplexityOptions>();
  options->model.declare(app);
  app.add_option("-f,--file", options->file, "Text to predict")->required()->type_name("FILE");
  app.add_option("-c,--ctx-size", options->context, "Tokens in a window")
      ->check(in_range(8, 1 << 24))
      ->capture_default_str();
  app.add_option("--chunks", options->chunks, "Windows to measure; default: all")->type_name("N");
  return [options] { return perplexity(*options); };
}

}  // namespace tern::cli
