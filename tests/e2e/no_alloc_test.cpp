// After Session::create nothing is allocated. Counted here are every use of operator new and, through the linker's --wrap,
// the two functions that AlignedBuffer takes memory from.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/run/sampler.h"
#include "engine/session/session.h"
#include "kernels/select.h"

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
  load.compute = {&best_table(), 1};
  const int64_t nothing = g_allocations;
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
  ASSERT_GT(before, nothing);  // the counting works
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
