#pragma once
// Whether the user has cut this machine off: TERN_OFFLINE and HF_HUB_OFFLINE.

#include <functional>
#include <string>

namespace tern {

// The variable that forbids every connection; empty: none does. Each value counts as yes that is
// not empty, 0, false, no or off in any case: all spellings that huggingface_hub takes for yes (1,
// true, yes, on) are among them.
std::string offline_variable(const std::function<std::string(const std::string&)>& variable);

// The same of this process's environment.
std::string offline_variable();

}  // namespace tern
