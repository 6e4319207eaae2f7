// What is typed by people who come from llama.cpp and Ollama, and by those who mistype.

#include "tools/arguments.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tools/cli.h"
#include "tools/foreign_options.h"
#include "tools/nearest.h"

namespace tern::cli {
namespace {

using Words = std::vector<std::string>;

class ArgumentsTest : public testing::Test {
 protected:
  ArgumentsTest() {
    app_.option_defaults()->take_last();
    declare_run(*app_.add_subcommand("run", ""));
    declare_chat(*app_.add_subcommand("chat", ""));
    declare_bench(*app_.add_subcommand("bench", ""));
    declare_embed(*app_.add_subcommand("embed", ""));
    declare_inspect(*app_.add_subcommand("inspect", ""));
    declare_remote(*app_.add_subcommand("remote", ""));
    declare_list(*app_.add_subcommand("list", ""));
  }

  Result<Arguments> read(Words words) { return read_arguments(app_, std::move(words)); }

  void expect_words(const Words& typed, const Words& meant) {
    const Result<Arguments> read_now = read(typed);
    ASSERT_TRUE(read_now) << read_now.error().message;
    EXPECT_EQ(read_now->words, meant);
  }

  void expect_refused(const Words& typed, const Words& parts) {
    const Result<Arguments> read_now = read(typed);
    ASSERT_FALSE(read_now);
    for (const std::string& part : parts) {
      EXPECT_NE(read_now.error().message.find(part), std::string::npos)
          << read_now.error().message << " does not say " << part;
    }
  }

  CLI::App app_{"", "tern"};
};

std::vector<std::string> names_of(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    names.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return names;
}

// Every option that llama-cli and llama-completion list, with how many values it takes there (2: one that may be left out).
struct Listed {
  const char* names;
  int values;
};
constexpr Listed kLlamaCli[] = {
    {"-h --help --usage", 0},
    {"-t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict --prio --poll",
     1},
    {"-Cb --cpu-mask-batch -Crb --cpu-range-batch --cpu-strict-batch --prio-batch --poll-batch", 1},
    {"-c --ctx-size -n --predict --n-predict -b --batch-size -ub --ubatch-size --keep", 1},
    {"--swa-full --perf --no-perf -e --escape --no-escape", 0},
    {"-fa --flash-attn", 2},
    {"-p --prompt -f --file -bf --binary-file --rope-scaling --rope-scale --rope-freq-base", 1},
    {"--rope-freq-scale --yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow", 1},
    {"--yarn-beta-fast -ctk --cache-type-k -ctv --cache-type-v -dt --defrag-thold -np", 1},
    {"--parallel --rpc --numa -dev --device -ot --override-tensor -ncmoe --n-cpu-moe -ngl", 1},
    {"-kvo --kv-offload -nkvo --no-kv-offload --repack -nr --no-repack --no-host --mlock", 0},
    {"--mmap --no-mmap -dio --direct-io -ndio --no-direct-io --list-devices -cmoe --cpu-moe", 0},
    {"-lm --load-mode --gpu-layers --n-gpu-layers -sm --split-mode -ts --tensor-split -mg", 1},
    {"--main-gpu -fitt --fit-target -fitc --fit-ctx --override-kv --lora --lora-scaled", 1},
    {"-fit --fit", 2},
    {"--check-tensors --op-offload --no-op-offload", 0},
    {"--control-vector --control-vector-scaled -m --model -mu --model-url -dr --docker-repo", 1},
    {"-hf -hfr --hf-repo -hfd -hfrd --hf-repo-draft -hff --hf-file -hft --hf-token --log-file", 1},
    {"--log-disable -v --verbose --log-verbose --offline --log-prefix --log-timestamps", 0},
    {"--log-colors", 2},
    {"-lv --verbosity --log-verbosity -ctkd --cache-type-k-draft -ctvd --cache-type-v-draft", 1},
    {"--samplers -s --seed --sampler-seq --sampling-seq --temp --temperature --top-k --top-p", 1},
    {"--min-p --top-nsigma --top-n-sigma --xtc-probability --xtc-threshold --typical --typical-p",
     1},
    {"--repeat-last-n --repeat-penalty --presence-penalty --frequency-penalty --dry-multiplier", 1},
    {"--dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker", 1},
    {"--adaptive-target --adaptive-decay --dynatemp-range --dynatemp-exp --mirostat", 1},
    {"--mirostat-lr --mirostat-ent -l --logit-bias --grammar --grammar-file -j --json-schema", 1},
    {"-jf --json-schema-file", 1},
    {"--ignore-eos -bs --backend-sampling --verbose-prompt --no-display-prompt", 0},
    {"--display-prompt --context-shift --no-context-shift --show-timings --no-show-timings", 0},
    {"-co --color", 2},
    {"-sys --system-prompt -sysf --system-prompt-file -r --reverse-prompt --server-base", 1},
    {"-ctxcp --ctx-checkpoints --swa-checkpoints -cram --cache-ram -ptc --print-token-count", 1},
    {"-sp --special -cnv --conversation -no-cnv --no-conversation -st --single-turn -mli", 0},
    {"--multiline-input -i --interactive -if --interactive-first --in-prefix-bos --warmup", 0},
    {"--no-warmup --no-mmproj --jinja --no-jinja --simple-io --prompt-cache-all", 0},
    {"--prompt-cache-ro --skip-chat-parsing --license -cl --cache-list --completion-bash", 0},
    {"-mm --mmproj -mmu --mmproj-url --image --audio --image-min-tokens --in-prefix", 1},
    {"--in-suffix -gan --grp-attn-n -gaw --grp-attn-w --prompt-cache --chat-template-kwargs", 1},
    {"--reasoning-format --reasoning-budget --chat-template --chat-template-file -o --output", 1},
    {"-td --threads-draft -tbd --threads-batch-draft --spec-draft-n-max --spec-draft-n-min", 1},
    {"--draft-p-min -devd --device-draft -ngld --gpu-layers-draft -md --model-draft", 1},
    {"--draft-max --draft-n --draft-min --spec-type", 1},
    {"--spec-default --gpt-oss-20b-default", 0},
    // Ollama's `run`.
    {"--keepalive --format", 1},
    {"--insecure --nowordwrap --hidethinking", 0},
};

// Each is understood or refused by its own name, with its values, whatever letters it is made of.
TEST_F(ArgumentsTest, EveryOptionOfLlamaCliIsKnownByName) {
  int count = 0;
  for (const Listed& row : kLlamaCli) {
    for (const std::string& name : names_of(row.names)) {
      ++count;
      Words typed = {"run", name};
      if (row.values == 1) {
        typed.emplace_back("4");
      }
      typed.emplace_back("--json");
      typed.emplace_back("Hello");
      const Result<Arguments> known = read(typed);
      if (!known) {
        EXPECT_TRUE(known.error().message.starts_with(name + " is not supported here. "))
            << known.error().message;
        EXPECT_GT(known.error().message.size(), name.size() + 40) << "no advice for " << name;
        continue;
      }
      // What comes after it is still read as what it is.
      const Words& words = known->words;
      EXPECT_NE(std::ranges::find(words, "--json"), words.end()) << name;
      EXPECT_EQ(words.back(), "Hello") << name;
    }
  }
  EXPECT_GT(count, 250);
}

TEST_F(ArgumentsTest, EachRowOfTheTableDoesWhatItSays) {
  for (const ForeignOption& row : foreign_options()) {
    for (const std::string& name : names_of(row.names)) {
      if (name == "-p" || name == "--raw") {
        continue;
      }
      Words typed = {"run", name};
      const int values = row.value == ForeignValue::kTwo ? 2 : row.value == ForeignValue::kOne;
      typed.insert(typed.end(), static_cast<size_t>(values), "7");
      const Result<Arguments> known = read(typed);
      switch (row.fate) {
        case ForeignFate::kRefused:
          ASSERT_FALSE(known) << name;
          EXPECT_NE(known.error().message.find(std::string(row.text)), std::string::npos);
          break;
        case ForeignFate::kIgnored:
          ASSERT_TRUE(known) << known.error().message;
          EXPECT_EQ(known->words, Words{"run"}) << name;
          EXPECT_EQ(known->notes, Words{name + " has no effect here."});
          break;
        case ForeignFate::kSilent:
          ASSERT_TRUE(known) << known.error().message;
          EXPECT_EQ(known->words, Words{"run"}) << name;
          EXPECT_TRUE(known->notes.empty());
          break;
        case ForeignFate::kWord:
          ASSERT_TRUE(known) << known.error().message;
          EXPECT_EQ(known->words, (Words{"run", "--", "7"})) << name;
          break;
        case ForeignFate::kMeans:
          if (row.text == "--pooling") {
            break;  // of another command
          }
          ASSERT_TRUE(known) << known.error().message;
          EXPECT_EQ(known->words[1], row.text) << name;
          EXPECT_EQ(known->words.size(), 2U + static_cast<size_t>(values)) << name;
          break;
      }
    }
  }
}

TEST_F(ArgumentsTest, ValuesThatAskForNothingAreNoReasonToRefuse) {
  expect_words({"run", "--typical", "1.0", "--mirostat", "0", "x"}, {"run", "--", "x"});
  expect_refused({"run", "--mirostat", "2", "x"}, {"--mirostat", "sampler"});
}

TEST_F(ArgumentsTest, WhatHasNoEffectIsNamedOnce) {
  const Result<Arguments> known =
      read({"run", "-ngl", "99", "--mlock", "-fa", "on", "-ngl", "1", "x"});
  ASSERT_TRUE(known) << known.error().message;
  EXPECT_EQ(known->words, (Words{"run", "--", "x"}));
  EXPECT_EQ(known->notes, Words{"-ngl, --mlock, -fa have no effect here."});
}

TEST_F(ArgumentsTest, ValuesStandWhereTheyMay) {
  expect_words({"run", "-n32", "-t-1", "x"}, {"run", "-n", "32", "-t", "-1", "--", "x"});
  expect_words({"run", "-n=32", "--seed=5", "x"}, {"run", "-n", "32", "--seed", "5", "--", "x"});
  expect_words({"run", "--numa=distribute", "-ngl=9", "x"}, {"run", "--", "x"});
  expect_words({"run", "--stop", "-hm-", "--system=", "--", "-x"},
               {"run", "--stop", "-hm-", "--system", "", "--", "-x"});
  expect_words({"run", "--seed", "-1", "x"}, {"run", "--", "x"});
  expect_words({"run", "-fa", "-n", "3", "on"}, {"run", "-n", "3", "--", "on"});
  expect_words({"bench", "-p", "1,2", "-fa", "1", "-n", "0"}, {"bench", "-p", "1,2", "-n", "0"});
  expect_words({"embed", "-p", "a text"}, {"embed", "--", "a text"});
}

TEST_F(ArgumentsTest, NothingIsReadAsABundleOfLetters) {
  expect_refused({"run", "-ngll", "99"}, {"no option -ngll", "put a blank"});
  expect_refused({"run", "-vh"}, {"no option -vh"});
  expect_refused({"run", "-mmodel.gguf"}, {"no option -mmodel.gguf", "-m is meant"});
  expect_refused({"run", "-5"}, {"no option -5"});
}

TEST_F(ArgumentsTest, SlipsAreNamedWithWhatIsNearest) {
  expect_refused({"run", "--tempature", "1"}, {"--tempature", "Did you mean --temperature?"});
  expect_refused({"run", "--top_k", "1"}, {"--top_k", "Did you mean --top-k?"});
  expect_refused({"rnu", "x"}, {"no command rnu", "Did you mean run?"});
  expect_refused({"remote", "stauts"}, {"tern remote has no command stauts", "status"});
  expect_refused({"serve"}, {"no command serve", "no server yet"});
  expect_refused({"run", "-n"}, {"-n: expected a value", "end of the line"});
  expect_refused({"run", "-n", "--json"}, {"-n: expected a value", "the option --json"});
  expect_refused({}, {"expected a command"});
  expect_refused({"inspect", "a", "b", "c", "d"}, {"found also: b c d"});
  expect_refused({"run", "-m", "", "x"}, {"-m: expected a value, found an empty one"});
  expect_refused({"inspect", ""}, {"expected a name, found an empty one"});
}

TEST_F(ArgumentsTest, QuestionsAndOtherNamesOfCommands) {
  expect_words({"help"}, {"--help"});
  expect_words({"help", "run"}, {"run", "--help"});
  expect_words({"help", "remote", "status"}, {"remote", "status", "--help"});
  expect_refused({"help", "rnu"}, {"Did you mean run?"});
  expect_words({"version"}, {"--version"});
  expect_words({"run", "--version"}, {"--version"});
  expect_words({"ls"}, {"list"});
  expect_words({"show", "a.gguf"}, {"inspect", "--", "a.gguf"});
}

TEST_F(ArgumentsTest, KeysAndValuesHaveOneType) {
  expect_words({"run", "-ctk", "q8_0", "-ctv", "q8_0", "x"},
               {"run", "--kv-type", "q8_0", "--kv-type", "q8_0", "--", "x"});
  expect_refused({"run", "-ctk", "q8_0", "-ctv", "f16", "x"}, {"-ctk q8_0 and -ctv f16"});
  const Result<Arguments> one = read({"run", "-ctk", "q8_0", "x"});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->notes, Words{"keys and values have one type here: both are q8_0."});
}

TEST(Nearest, CountsChangesByHand) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);  // the textbook's pair
  EXPECT_EQ(edit_distance("rnu", "run"), 1U);         // neighbours exchanged
  EXPECT_EQ(edit_distance("same", "same"), 0U);
  EXPECT_EQ(nearest("perplexty", {"pull", "perplexity"}), "perplexity");
  EXPECT_EQ(nearest("zzzz", {"run", "chat"}), "");
}

}  // namespace
}  // namespace tern::cli
