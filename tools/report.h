#pragma once
// What is said about a completion when it is done.

#include <cstddef>

#include "engine/api/message.h"
#include "engine/run/head_screen.h"
#include "remote/api_outcome.h"

namespace tern::cli {

const char* reason_name(StopReason reason);
double prompt_speed(const Usage& usage);      // tokens/s
double generation_speed(const Usage& usage);  // tokens/s after the first token
// One line on stderr: tokens and speeds, how fast weights were read for it (bytes_per_token: Model's), time to the first token,
// memory.
void print_summary(const Completion& completion, size_t bytes_per_token);

// One line on stderr of an answer from elsewhere: tokens, speed, who answered, what it cost.
void print_remote_summary(const ApiOutcome& outcome);

// One line on stderr: how much of the output head screening left out. Nothing if it was never screened.
void print_head_stats(const HeadStats& stats);

}  // namespace tern::cli
