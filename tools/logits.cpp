// tern logits: raw logits of given tokens, for comparing engines.

#include <cstdio>
#include <limits>

#include "engine/base/output_file.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::vector<int32_t> tokens;
  std::string output;
  bool force = false;
};

Result<void> check_tokens(const std::vector<int32_t>& tokens, int32_t vocab) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocab) {
      return Error{"--tokens: expected ids from 0 to " + std::to_string(vocab - 1) + ", found " +
                   std::to_string(token) + "."};
    }
  }
  return {};
}

Result<void> write_logits(const LogitsOptions& options) {
  ASSIGN_OR_RETURN(OutputFile file, open_output(options.output, options.force));
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  RETURN_IF_ERROR(check_tokens(options.tokens, loaded.model->config().vocab));
  ASSIGN_OR_RETURN(Session session,
                   create_session(loaded, static_cast<int>(options.tokens.size())));
  if (session.room() < static_cast<int32_t>(options.tokens.size())) {
    return Error{"--tokens: expected at most " + std::to_string(session.room()) +
                 " tokens, found " + std::to_string(options.tokens.size()) + "."};
  }
  catch_interrupts();
  Result<void> written;
  session.append_each(
      options.tokens,
      [&](std::span<const float> logits) {
        if (written) {
          written = file.write(std::as_bytes(logits));
        }
        return written.has_value();
      },
      [&] { return written.has_value() && !interrupted(); });
  RETURN_IF_ERROR(written);
  if (interrupted()) {
    return Error{"Interrupted; nothing was written."};
  }
  RETURN_IF_ERROR(file.commit());
  print_message_f("%s: %zu x %d float32\n", options.output.c_str(), options.tokens.size(),
                  loaded.model->config().vocab);
  return {};
}

}  // namespace

Action declare_logits(CLI::App& app) {
  const auto options = std::make_shared<LogitsOptions>();
  options->model.declare(app);
  add_numbers(app, "--tokens", options->tokens, int32_t{0}, std::numeric_limits<int32_t>::max(),
              "Token ids, separated by commas")
      ->required()
      ->type_name("ID,ID,...");
  app.add_option(
         "-o,--output", options->output,
         "File for tokens x vocabulary float32, little-endian, row-major; -: standard output")
      ->required()
      ->type_name("FILE");
  declare_force(app, options->force);
  return [options] { return write_logits(*options); };
}

}  // namespace tern::cli
