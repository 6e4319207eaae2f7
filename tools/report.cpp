#include "tools/report.h"

#include <algorithm>
#include <cstdio>

#include "engine/base/memory.h"

namespace tern::cli {
namespace {

double per_second(int tokens, double seconds) {
  return seconds > 0 ? tokens / seconds : 0;
}

}  // namespace

const char* reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText:
      return "end of text";
    case StopReason::kStopString:
      return "stop string";
    case StopReason::kLength:
      return "length";
    case StopReason::kContextFull:
      return "context full";
    case StopReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

double prompt_speed(const Usage& usage) {
  return per_second(usage.prompt_tokens, usage.prompt_seconds);
}

// The first token comes with the prompt; the others each take a pass of their own.
double generation_speed(const Usage& usage) {
  return per_second(std::max(0, usage.completion_tokens - 1), usage.generation_seconds);
}

void print_summary(const Completion& completion, size_t bytes_per_token) {
  const Usage& usage = completion.usage;
  const double speed = generation_speed(usage);
  std::fprintf(
      stderr,
      "\nprompt %d tokens, %.1f tokens/s; generated %d tokens, %.1f tokens/s, %.1f GB/s of "
      "weights (%s); first token after %.0f ms; memory %s\n",
      usage.prompt_tokens, prompt_speed(usage), usage.completion_tokens, speed,
      speed * static_cast<double>(bytes_per_token) * 1e-9, reason_name(completion.reason),
      usage.first_token_seconds * 1000, human_bytes(peak_resident_memory()).c_str());
}

}  // namespace tern::cli
