// After Session::create nothing is allocated. Counted here are every use of operator new and, through the linker's --wrap,
// the two functions that AlignedBuffer takes memory from.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/run/sampler.h"
#include "engine/session/draft_model.h"
#include "engine/session/prompt_lookup.h"
#include "engine/session/session.h"
#include "engine/session/speculation.h"
#include "kernels/select.h"
#include "tests/support/source_dir.h"
#include "tests/support/tested_table.h"

namespace {

std::atomic<int64_t> g_allocations = 0;

void* counted(size_t size) {
  ++g_allocations;
  void* data = std::malloc(size);
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  return data;
}

}  // namespace

void* operator new(size_t size) {
  return counted(size);
}
void operator delete(void* data) noexcept {
  std::free(data);
}
void operator delete(void* data, size_t) noexcept {
  std::free(data);
}

// The names that --wrap prescribes.
extern "C" {
void* __real_aligned_alloc(size_t alignment, size_t size);
void* __real_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset);

void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  ++g_allocations;
  return __real_aligned_alloc(alignment, size);
}
void* __wrap_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  ++g_allocations;
  return __real_mmap(address, size, protection, flags, fd, offset);
}
}

namespace tern {
namespace {

TEST(NoAllocation, PerTokenOrPrompt) {
  LoadOptions load;
  load.compute = {&testing::tested_table(), 1};
  const int64_t nothing = g_allocations;
  const auto model = Model::load(testing::source_path("models/tern-tiny.gguf"), load);
  ASSERT_TRUE(model) << model.error().message;
  SessionOptions options;
  options.context = 64;
  options.batch = 16;
  Result<Session> session = Session::create(*model, options);
  ASSERT_TRUE(session) << session.error().message;
  SamplingParams params;
  params.repeat_penalty = 1.1F;
  Sampler sampler(params, (*model)->config().vocab);
  const std::vector<TokenId> prompt(40, 7);

  const int64_t before = g_allocations;
  ASSERT_GT(before, nothing);  // the counting works
  std::span<const float> logits = session->append(prompt);
  for (int i = 0; i < 20; ++i) {
    const TokenId token = sampler.sample(logits);
    sampler.accept(token);
    logits = session->append({&token, 1});
  }
  EXPECT_EQ(g_allocations, before);
}

TEST(NoAllocation, OfFactoredMatrices) {
  LoadOptions load;
  load.compute = {&testing::tested_table(), 1};
  const auto model =
      Model::load(testing::source_path("tests/golden/onecomp/tool/qwen3-dbf-rotated"), load)
          .value();
  SessionOptions options;
  options.context = 64;
  options.batch = 16;
  Session session = std::move(Session::create(model, options)).value();
  const std::vector<TokenId> prompt(40, 7);

  const int64_t before = g_allocations;
  session.append(prompt);
  for (int i = 0; i < 10; ++i) {
    session.append(std::span(prompt).first(1));
  }
  EXPECT_EQ(g_allocations, before);
}

// Adapters beside activations of two int8 rows, and beside experts: packed on first use, so each is used before the counting.
TEST(NoAllocation, OfAdaptersWithInt16AndExperts) {
  const std::pair<const char*, const char*> cases[] = {{"models/llama-tq2_0-groups.gguf", "int16"},
                                                       {"experts/qwen3moe-f16.gguf", "mixture"},
                                                       {"experts/maple-q2_0.gguf", nullptr}};
  for (const auto& [name, adapter] : cases) {
    SCOPED_TRACE(name);
    LoadOptions load;
    load.compute = {&testing::tested_table(), 1};
    load.activations = Activations::kInt16;
    if (adapter != nullptr) {
      load.lora = {{testing::source_path("tests/golden/lora") / adapter, 1.0F}};
    }
    const auto model = Model::load(testing::source_path("tests/golden") / name, load).value();
    SessionOptions options;
    options.context = 64;
    options.batch = 16;
    Session session = std::move(Session::create(model, options)).value();
    std::vector<TokenId> prompt(40);
    for (size_t i = 0; i < prompt.size(); ++i) {
      prompt[i] = static_cast<TokenId>(5 * i + 1);
    }
    session.append(prompt);
    session.rewind(0);

    const int64_t before = g_allocations;
    session.append(prompt);
    for (int i = 0; i < 10; ++i) {
      session.append(std::span(prompt).subspan(static_cast<size_t>(i), 1));
    }
    EXPECT_EQ(g_allocations, before);
  }
}

TEST(NoAllocation, PerSpeculatedPass) {
  LoadOptions load;
  load.compute = {&testing::tested_table(), 1};
  const auto model = Model::load(testing::source_path("models/tern-tiny.gguf"), load).value();
  SessionOptions options;
  options.context = 64;
  Session session = std::move(Session::create(model, options)).value();
  Session small = std::move(Session::create(model, options)).value();
  Speculation lookup({4, false}, std::make_unique<PromptLookup>(64));
  Speculation draft({4, false}, DraftModel::create(std::move(small), *model).value());
  const auto always = [] { return true; };

  const int64_t before = g_allocations;
  for (Speculation* speculation : {&lookup, &draft}) {
    std::array<TokenId, 64> text{};
    size_t length = 20;
    for (size_t i = 0; i < length; ++i) {
      text[i] = static_cast<TokenId>(i % 3 + 7);
    }
    session.rewind(0);
    session.append(std::span(text).first(length - 1));
    speculation->begin(std::span(text).first(length), always);
    for (int pass = 0; pass < 30; ++pass) {
      const auto so_far = std::span(text).first(length);
      const std::span<const TokenId> guesses = speculation->propose(so_far, 4);
      std::array<TokenId, 5> batch{so_far.back()};
      std::copy(guesses.begin(), guesses.end(), batch.begin() + 1);
      session.append_each(std::span(batch).first(guesses.size() + 1),
                          [&](std::span<const float> logits) { return logits[0] > -1e9F; });
      session.rewind(static_cast<int32_t>(length));
      text[length] = text[length - 3];
      speculation->learn(std::span(text).subspan(length, 1), 0.1);
      ++length;
    }
    EXPECT_GT(speculation->summary().proposed, 50);
  }
  EXPECT_EQ(g_allocations, before);
}

}  // namespace
}  // namespace tern
