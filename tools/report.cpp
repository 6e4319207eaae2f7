#include "tools/report.h"

#include <algorithm>
#include <cstdio>

#include "engine/base/memory.h"
#include "remote/budget.h"
#include "remote/plain_line.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

double per_second(int tokens, double seconds) {
  return seconds > 0 ? tokens / seconds : 0;
}

// Nothing if nothing was proposed.
std::string speculation_report(const Usage& usage) {
  if (usage.proposed_tokens == 0) {
    return {};
  }
  char text[128];
  const int length = std::snprintf(text, sizeof text, "; accepted %lld of %lld proposed tokens",
                                   static_cast<long long>(usage.accepted_tokens),
                                   static_cast<long long>(usage.proposed_tokens));
  std::string report(text, static_cast<size_t>(length));
  if (usage.speculation_gain > 0) {
    std::snprintf(text, sizeof text, " (%.2f x the speed of plain decoding)",
                  usage.speculation_gain);
    report += text;
  }
  return report;
}

// Whether nothing was made before the user ended it, and nothing can be summed up.
bool ended_early(const Completion& completion) {
  const bool early = completion.reason == StopReason::kCancelled &&
                     completion.usage.prompt_tokens + completion.usage.completion_tokens == 0;
  if (early) {
    print_message("cancelled before an answer began");
  }
  return early;
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
    case StopReason::kToolCalls:
      return "tool calls";
    case StopReason::kContentFilter:
      return "content filter";
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
  if (ended_early(completion)) {
    return;
  }
  const Usage& usage = completion.usage;
  const double speed = generation_speed(usage);
  // An accepted guess came without a pass of its own.
  const double passes = std::max(1.0, static_cast<double>(usage.completion_tokens) - 1);
  const double read = speed * (1 - static_cast<double>(usage.accepted_tokens) / passes) *
                      static_cast<double>(bytes_per_token);
  const std::string speculation = speculation_report(usage);
  print_message_f(
      "\nprompt %d tokens, %.1f tokens/s; generated %d tokens, %.1f tokens/s, %.1f GB/s of "
      "weights (%s); first token after %.0f ms%s; memory %s\n",
      usage.prompt_tokens, prompt_speed(usage), usage.completion_tokens, speed, read * 1e-9,
      reason_name(completion.reason), usage.first_token_seconds * 1000, speculation.c_str(),
      human_bytes(peak_resident_memory()).c_str());
  for (const std::string& note : completion.notes) {
    print_notice(note);
  }
}

void print_remote_summary(const ApiOutcome& outcome) {
  const Completion& completion = outcome.completion;
  if (ended_early(completion)) {
    return;
  }
  const Usage& usage = completion.usage;
  const Served& served = completion.served;
  std::string cost = served.cost_known ? dollars_text(nano_dollars(served.cost_usd))
                                       : std::string("cost unknown (no price)");
  if (outcome.cached_tokens > 0) {
    cost += (outcome.cost_is_upper_bound ? " at most, as " : " with ") +
            std::to_string(outcome.cached_tokens) + " tokens of the prompt" +
            (outcome.cost_is_upper_bound ? " came from a cache whose price is not known"
                                         : " from the cache");
  }
  print_message_f(
      "\nprompt %d tokens; generated %d tokens%s, %.1f tokens/s (%s); first token after "
      "%.0f ms; %s %s, %s\n",
      usage.prompt_tokens, usage.completion_tokens, usage.estimated ? " (estimated)" : "",
      generation_speed(usage), reason_name(completion.reason), usage.first_token_seconds * 1000,
      served.provider.c_str(), plain_line(served.model, 100).c_str(), cost.c_str());
}

void print_head_stats(const HeadStats& stats) {
  if (stats.screened == 0) {
    return;
  }
  print_message_f(
      "output head: screened at %lld of %lld positions, multiplying %.1f %% of its rows in "
      "full\n",
      static_cast<long long>(stats.screened), static_cast<long long>(stats.positions),
      100.0 * static_cast<double>(stats.full_rows) / static_cast<double>(stats.rows));
}

}  // namespace tern::cli
