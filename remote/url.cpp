#include "remote/url.h"

#include <algorithm>
#include <string>

#include "engine/base/ascii.h"

namespace tern {
namespace {

// The scheme is taken off the front of `url` if it is this one.
bool take_scheme(std::string_view& url, std::string_view scheme) {
  const bool same = begins_ignoring_case(url, scheme);
  if (same) {
    url.remove_prefix(scheme.size());
  }
  return same;
}

// 127.x.y.z and nothing else: "127.0.0.1.example.org" is a name of somebody else's.
bool is_loopback_ipv4(std::string_view host) {
  const bool plain = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return plain && host.starts_with("127.") && std::ranges::count(host, '.') == 3 &&
         host.find("..") == std::string_view::npos && !host.ends_with('.');
}

}  // namespace

bool is_loopback_url(std::string_view url) {
  if (!take_scheme(url, "https://") && !take_scheme(url, "http://")) {
    return false;
  }
  const std::string_view authority = url.substr(0, url.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) {
    return false;
  }
  if (authority.starts_with('[')) {
    return authority == "[::1]" || authority.starts_with("[::1]:");
  }
  const std::string_view host = authority.substr(0, authority.find(':'));
  return host == "localhost" || is_loopback_ipv4(host);
}

bool is_safe_for_keys(std::string_view url) {
  std::string_view rest = url;
  return take_scheme(rest, "https://") || is_loopback_url(url);
}

}  // namespace tern
