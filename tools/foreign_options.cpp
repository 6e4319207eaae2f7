#include "tools/foreign_options.h"

#include <algorithm>

namespace tern::cli {
namespace {

using enum ForeignFate;
using enum ForeignValue;

constexpr std::string_view kConstrained =
    "Output cannot be held to a grammar or a schema yet: ask for the form in the prompt.";
constexpr std::string_view kSampler =
    "Tern has no such sampler yet; it has --temp, --top-k, --top-p, --min-p and the penalties.";
constexpr std::string_view kPositions = "Tern computes positions as the model's file says.";
constexpr std::string_view kMedia =
    "Tern runs text models; images, audio and video cannot be read.";
constexpr std::string_view kThinking = "Tern cannot steer a model's reasoning yet.";
constexpr std::string_view kWrapping =
    "Messages go through the chat template; give --raw and write the whole prompt instead.";
constexpr std::string_view kPullFirst = "Download a model with `tern pull` and name it with -m.";

// The names follow llama.cpp's common/arg.cpp, llama-bench, llama-perplexity, llama-embedding and llama-tokenize, and Ollama's
// `run`. A command that declares one of them itself is asked first.
constexpr ForeignOption kOptions[] = {
    // What has a meaning here.
    {"-tb", kOne, kMeans, "--threads-batch"},
    {"-p --prompt", kOne, kWord, ""},
    {"-sys --system-prompt", kOne, kMeans, "--system"},
    {"-sysf --system-prompt-file", kOne, kMeans, "--system-file"},
    {"-ctk --cache-type-k", kOne, kMeans, "--kv-type"},
    {"-ctv --cache-type-v", kOne, kMeans, "--kv-type"},
    {"-md --model-draft --spec-draft-model", kOne, kMeans, "--draft"},
    {"--draft-max --draft-n --spec-draft-n-max", kOne, kMeans, "--speculate"},
    {"-hf -hfr --hf-repo", kOne, kMeans, "--model"},
    {"-mu --model-url", kOne, kMeans, "--model"},
    {"-hfd -hfrd --hf-repo-draft --spec-draft-hf", kOne, kMeans, "--draft"},
    {"-no-cnv --no-conversation", kNone, kMeans, "--raw"},
    {"-cnv --conversation -i --interactive -if --interactive-first", kNone, kMeans,
     "--conversation"},
    {"-st --single-turn", kNone, kMeans, "--single-turn"},
    {"-r --reverse-prompt", kOne, kMeans, "--stop"},
    {"-l", kOne, kMeans, "--logit-bias"},
    {"--lora-scaled", kOne, kMeans, "--lora"},
    {"--log-verbose", kNone, kMeans, "--verbose"},
    {"--offline", kNone, kMeans, "--local-only"},
    {"--usage", kNone, kMeans, "--help"},
    {"--pooling-type", kOne, kMeans, "--pooling"},

    // What Tern always does.
    {"--jinja", kNone, kSilent, ""},
    {"--display-prompt", kNone, kSilent, ""},
    {"--no-escape", kNone, kSilent, ""},
    {"--no-mmproj --no-mmproj-auto", kNone, kSilent, ""},
    {"--no-perf", kNone, kSilent, ""},
    {"--no-context-shift", kNone, kSilent, ""},

    // Where and how fast it computes; what is printed beside the text.
    {"-ngl --gpu-layers --n-gpu-layers", kOne, kIgnored, ""},
    {"-dev --device", kOne, kIgnored, ""},
    {"-sm --split-mode", kOne, kIgnored, ""},
    {"-ts --tensor-split", kOne, kIgnored, ""},
    {"-mg --main-gpu", kOne, kIgnored, ""},
    {"-ot --override-tensor", kOne, kIgnored, ""},
    {"-cmoe --cpu-moe", kNone, kIgnored, ""},
    {"-ncmoe --n-cpu-moe", kOne, kIgnored, ""},
    {"-kvo --kv-offload -nkvo --no-kv-offload", kSwitch, kIgnored, ""},
    {"--op-offload --no-op-offload -nopo", kSwitch, kIgnored, ""},
    {"-nr --no-repack --repack", kSwitch, kIgnored, ""},
    {"--no-host", kSwitch, kIgnored, ""},
    {"-fa --flash-attn", kSwitch, kIgnored, ""},
    {"-fit --fit", kSwitch, kIgnored, ""},
    {"-fitt --fit-target", kOne, kIgnored, ""},
    {"-fitc --fit-ctx", kOne, kIgnored, ""},
    {"--mlock", kNone, kIgnored, ""},
    {"-mmp --mmap --no-mmap", kSwitch, kIgnored, ""},
    {"-dio --direct-io -ndio --no-direct-io", kSwitch, kIgnored, ""},
    {"-lm --load-mode", kOne, kIgnored, ""},
    {"--numa", kOne, kIgnored, ""},
    {"-C --cpu-mask", kOne, kIgnored, ""},
    {"-Cr --cpu-range", kOne, kIgnored, ""},
    {"--cpu-strict", kOne, kIgnored, ""},
    {"--prio", kOne, kIgnored, ""},
    {"--poll", kOne, kIgnored, ""},
    {"-Cb --cpu-mask-batch", kOne, kIgnored, ""},
    {"-Crb --cpu-range-batch", kOne, kIgnored, ""},
    {"--cpu-strict-batch", kOne, kIgnored, ""},
    {"--prio-batch", kOne, kIgnored, ""},
    {"--poll-batch", kOne, kIgnored, ""},
    {"-b --batch-size", kOne, kIgnored, ""},
    {"-ub --ubatch-size", kOne, kIgnored, ""},
    {"-np --parallel", kOne, kIgnored, ""},
    {"-dt --defrag-thold", kOne, kIgnored, ""},
    {"--swa-full", kNone, kIgnored, ""},
    {"-ctxcp --ctx-checkpoints --swa-checkpoints", kOne, kIgnored, ""},
    {"-cram --cache-ram", kOne, kIgnored, ""},
    {"--keep", kOne, kIgnored, ""},
    {"--check-tensors", kNone, kIgnored, ""},
    {"--warmup --no-warmup", kNone, kIgnored, ""},
    {"--perf --show-timings --no-show-timings", kNone, kIgnored, ""},
    {"-bs --backend-sampling", kNone, kIgnored, ""},
    {"-co --color", kSwitch, kIgnored, ""},
    {"--simple-io", kNone, kIgnored, ""},
    {"-mli --multiline-input", kNone, kIgnored, ""},
    {"-ptc --print-token-count", kOne, kIgnored, ""},
    {"--prompt-cache", kOne, kIgnored, ""},
    {"--prompt-cache-all --prompt-cache-ro", kNone, kIgnored, ""},
    {"--log-disable --log-prefix --no-log-prefix --log-timestamps --no-log-timestamps", kNone,
     kIgnored, ""},
    {"--log-file --log-prompts-dir", kOne, kIgnored, ""},
    {"--log-colors", kSwitch, kIgnored, ""},
    {"-lv --verbosity --log-verbosity", kOne, kIgnored, ""},
    {"--draft-min --draft-n-min --spec-draft-n-min", kOne, kIgnored, ""},
    {"--draft-p-min --spec-draft-p-min --draft-p-split --spec-draft-p-split", kOne, kIgnored, ""},
    {"-ngld --gpu-layers-draft --n-gpu-layers-draft --spec-draft-ngl", kOne, kIgnored, ""},
    {"-devd --device-draft --spec-draft-device", kOne, kIgnored, ""},
    {"-td --threads-draft --spec-draft-threads", kOne, kIgnored, ""},
    {"-tbd --threads-batch-draft --spec-draft-threads-batch", kOne, kIgnored, ""},
    {"-ctkd --cache-type-k-draft --spec-draft-type-k", kOne, kIgnored, ""},
    {"-ctvd --cache-type-v-draft --spec-draft-type-v", kOne, kIgnored, ""},
    {"-cd --ctx-size-draft", kOne, kIgnored, ""},
    {"--spec-type", kOne, kIgnored, ""},
    {"--spec-default", kNone, kIgnored, ""},
    {"--delay", kOne, kIgnored, ""},
    {"--progress", kNone, kIgnored, ""},
    {"--keepalive", kOne, kIgnored, ""},
    {"--insecure", kNone, kIgnored, ""},

    // What would change the result.
    {"--grammar --grammar-file", kOne, kRefused, kConstrained},
    {"-j --json-schema -jf --json-schema-file", kOne, kRefused, kConstrained},
    {"--format", kOne, kRefused, kConstrained},
    {"--samplers", kOne, kRefused, kSampler,
     "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"},
    {"--sampler-seq --sampling-seq", kOne, kRefused, kSampler, "edskypmxt"},
    {"--typical --typical-p", kOne, kRefused, kSampler, "1 1.0 1.00"},
    {"--top-nsigma --top-n-sigma", kOne, kRefused, kSampler, "-1 -1.0 -1.00"},
    {"--xtc-probability", kOne, kRefused, kSampler, "0 0.0 0.00"},
    {"--xtc-threshold", kOne, kIgnored, ""},
    {"--dry-multiplier", kOne, kRefused, kSampler, "0 0.0 0.00"},
    {"--dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker", kOne, kIgnored,
     ""},
    {"--dynatemp-range", kOne, kRefused, kSampler, "0 0.0 0.00"},
    {"--dynatemp-exp", kOne, kIgnored, ""},
    {"--mirostat", kOne, kRefused, kSampler, "0"},
    {"--mirostat-lr --mirostat-ent", kOne, kIgnored, ""},
    {"--adaptive-target", kOne, kRefused, kSampler, "-1 -1.0 -1.00"},
    {"--adaptive-decay", kOne, kIgnored, ""},
    {"--tfs", kOne, kRefused, kSampler, "1 1.0 1.00"},
    {"--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale", kOne, kRefused, kPositions},
    {"--yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast", kOne,
     kRefused, kPositions},
    {"-gan --grp-attn-n", kOne, kRefused, kPositions, "1"},
    {"-gaw --grp-attn-w", kOne, kIgnored, ""},
    {"--context-shift", kNone, kRefused,
     "A text ends where the context ends (-c); `tern chat` drops its oldest turns."},
    {"--override-kv", kOne, kRefused,
     "Tern takes the model's metadata from its file; --chat-template, --activations and "
     "--i2s-layout override some of it."},
    {"--control-vector --control-vector-scaled", kOne, kRefused,
     "Control vectors are not supported; --lora adds an adapter."},
    {"--control-vector-layer-range", kTwo, kRefused, "Control vectors are not supported."},
    {"-mm --mmproj -mmu --mmproj-url", kOne, kRefused, kMedia},
    {"--image --audio --video --image-min-tokens --image-max-tokens", kOne, kRefused, kMedia},
    {"--mmproj-auto --mmproj-offload --no-mmproj-offload", kNone, kIgnored, ""},
    {"--no-jinja", kNone, kRefused,
     "Tern always renders the model's own template; --chat-template names another."},
    {"--chat-template-kwargs", kOne, kRefused,
     "Tern passes no variables of your own to a chat template yet."},
    {"--reasoning-format", kOne, kRefused, kThinking, "none auto"},
    {"-rea --reasoning", kOne, kRefused, kThinking, "auto"},
    {"--reasoning-effort", kOne, kRefused, kThinking, "default"},
    {"--reasoning-budget", kOne, kRefused, kThinking, "-1"},
    {"--reasoning-budget-message", kOne, kRefused, kThinking},
    {"--reasoning-preserve --no-reasoning-preserve", kNone, kRefused, kThinking},
    {"--think --hidethinking", kSwitch, kRefused, kThinking},
    {"--skip-chat-parsing --no-skip-chat-parsing", kNone, kIgnored, ""},
    {"--in-prefix --in-suffix", kOne, kRefused, kWrapping},
    {"--in-prefix-bos", kNone, kRefused, kWrapping},
    {"-sp --special", kNone, kRefused, "Special tokens are never printed as text."},
    {"-bf --binary-file", kOne, kRefused, "-f FILE reads a prompt; it must be UTF-8."},
    {"-o --output --output-file", kOne, kRefused, "Redirect the output: tern ... > FILE."},
    {"--server-base", kOne, kRefused, "`--route` lets a server answer; see `tern remote --help`."},
    {"--rpc -rpc", kOne, kRefused,
     "Tern computes on this machine alone; `--route` lets a server answer."},
    {"-hff --hf-file", kOne, kRefused, "Name the file with the repository: -m OWNER/NAME:FILE."},
    {"-hft --hf-token", kOne, kRefused,
     "Put the token into the environment as HF_TOKEN; `tern pull` uses it."},
    {"-dr --docker-repo", kOne, kRefused, kPullFirst},
    {"--gpt-oss-20b-default --gpt-oss-120b-default", kNone, kRefused, kPullFirst},
    {"--vision-gemma-4b-default --vision-gemma-12b-default", kNone, kRefused, kPullFirst},
    {"--list-devices", kNone, kRefused, "`tern doctor` shows what this machine can do."},
    {"-cl --cache-list", kNone, kRefused, "`tern list` shows the models that are here."},
    {"--completion-bash", kNone, kRefused, "There is no completion for shells yet."},
    {"--license", kNone, kRefused, "Tern's licence is the Apache License 2.0."},
    {"-pg", kOne, kRefused, "Measure both parts alone: -p and -n."},
    {"-oe --output-err", kOne, kRefused, "-o FORMAT prints the results on standard output."},
    {"--embd-normalize", kOne, kRefused, "Vectors always have length 1.", "2"},
    {"--embd-separator", kOne, kRefused, "`-` reads one text a line."},
    {"--embd-output-format", kOne, kRefused, "--output json is the form of OpenAI's API.", "json"},
    {"--attention", kOne, kRefused, "Attention is what the model's file says."},
    {"--dimensions", kOne, kRefused, "Vectors have the model's own length."},
    {"--hellaswag --winogrande --multiple-choice", kNone, kRefused,
     "`tern eval` measures such tasks."},
    {"--ppl-stride --ppl-output-type", kOne, kRefused, "Windows follow each other without overlap.",
     "0"},
};

constexpr ForeignCommand kCommands[] = {
    {"ls", "list", ""},
    {"show", "inspect", ""},
    {"remove", "rm", ""},
    {"delete", "rm", ""},
    {"download", "pull", ""},
    {"quantize", "convert", ""},
    {"ppl", "perplexity", ""},
    {"embedding", "embed", ""},
    {"complete", "run", ""},
    {"serve", "", "There is no server yet; `tern run` and `tern chat` answer on this machine."},
    {"ps", "", "No model stays loaded between commands; `tern list` shows those on the disk."},
    {"stop", "", "No model stays loaded between commands, so there is nothing to stop."},
    {"create", "", "There are no Modelfiles; --system, --chat-template and --temp are options."},
    {"push", "", "Tern does not upload models."},
    {"cp", "", "Models are files: `tern list` says where they lie."},
    {"signin", "", "No account is needed; `tern remote check-key` checks a provider's key."},
    {"signout", "", "There is no account; keys come from the environment."},
};

std::string_view next_word(std::string_view& list) {
  const size_t end = std::min(list.find(' '), list.size());
  const std::string_view word = list.substr(0, end);
  list.remove_prefix(std::min(end + 1, list.size()));
  return word;
}

}  // namespace

std::span<const ForeignOption> foreign_options() {
  return kOptions;
}

bool list_has(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    if (next_word(list) == word) {
      return true;
    }
  }
  return false;
}

const ForeignOption* find_foreign_option(std::string_view name) {
  const auto found = std::ranges::find_if(
      kOptions, [name](const ForeignOption& row) { return list_has(row.names, name); });
  return found == std::end(kOptions) ? nullptr : &*found;
}

bool is_switch_value(std::string_view word) {
  return list_has("on off auto 0 1 true false enabled disabled", word);
}

const ForeignCommand* find_foreign_command(std::string_view name) {
  const auto found = std::ranges::find(kCommands, name, &ForeignCommand::name);
  return found == std::end(kCommands) ? nullptr : &*found;
}

}  // namespace tern::cli
