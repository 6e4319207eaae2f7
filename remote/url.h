#pragma once
// The little that has to be known of an address before it is used.

#include <string_view>

namespace tern {

// Whether an http or https address names this machine: localhost, 127.x.y.z or [::1]. With a user name in it never.
bool is_loopback_url(std::string_view url);

// Whether a key may go to this address: https, or http to the loopback.
bool is_safe_for_keys(std::string_view url);

}  // namespace tern
