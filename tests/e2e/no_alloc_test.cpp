// After Session::create nothing is allocated: every use of operator new is counted here.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/run/sampler.h"
#include "engine/session/session.h"
#include "kernels/select.h"

namespace {

std::atomic<int64_t> g_allocations = 0;

void* counted(size_t size, size_t alignment) {
  ++g_allocations;
  void* data = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  return data;
}

}  // namespace

void* operator new(size_t size) {
  return counted(size, alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void operator delete(void* data) noexcept {
  std::free(data);
}
void operator delete(void* data, size_t) noexcept {
  std::free(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
  std::free(data);
}
void operator delete(void* data, size_t, std::align_val_t) noexcept {
  std::free(data);
}

namespace tern {
namespace {

TEST(NoAllocation, PerTokenOrPrompt) {
  LoadOptions load;
  load.compute = {&best_table(), 1};
  const auto model = Model::load(TERN_SOURCE_DIR "/models/tern-tiny.gguf", load);
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
  std::span<const float> logits = session->append(prompt);
  for (int i = 0; i < 20; ++i) {
    const TokenId token = sampler.sample(logits);
    sampler.accept(token);
    logits = session->append({&token, 1});
  }
  EXPECT_EQ(g_allocations, before);
}

}  // namespace
}  // namespace tern
