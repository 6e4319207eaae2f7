#include "tests/support/loopback_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace tern::testing {
namespace {

// The value of Content-Length in a head; 0 if it has none.
size_t length_in(const std::string& head) {
  const size_t at = head.find("Content-Length: ");
  return at == std::string::npos ? 0 : std::strtoul(head.c_str() + at + 16, nullptr, 10);
}

}  // namespace

std::string Peer::read_request() {
  for (;;) {
    const size_t end = unread_.find("\r\n\r\n");
    if (end != std::string::npos) {
      const size_t size = end + 4 + length_in(unread_.substr(0, end + 2));
      if (unread_.size() >= size) {
        std::string request = unread_.substr(0, size);
        unread_.erase(0, size);
        return request;
      }
    }
    char block[4096];
    const ssize_t count = ::recv(fd_, block, sizeof block, 0);
    if (count <= 0) {
      return "";
    }
    unread_.append(block, static_cast<size_t>(count));
  }
}

void Peer::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void Peer::read_slowly(size_t bytes, size_t each, int pause_ms) {
  std::string block(each, '\0');
  while (bytes > 0) {
    const ssize_t count = ::recv(fd_, block.data(), std::min(bytes, each), 0);
    if (count <= 0) {
      return;
    }
    unread_.append(block, 0, static_cast<size_t>(count));
    bytes -= static_cast<size_t>(count);
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
  }
}

void Peer::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

bool Peer::closed_within(double seconds) {
  pollfd wait{fd_, POLLIN, 0};
  char byte = 0;
  return ::poll(&wait, 1, static_cast<int>(seconds * 1000)) == 1 && ::recv(fd_, &byte, 1, 0) <= 0;
}

LoopbackServer::LoopbackServer(Handler handler, int receive_buffer)
    : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (receive_buffer > 0) {  // of the connections that it accepts too
    ::setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  }
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 16) != 0 ||
      ::getsockname(listener_, generic, &size) != 0) {
    throw std::runtime_error("cannot listen on 127.0.0.1");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

LoopbackServer::~LoopbackServer() {
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& peer : peers_) {
    peer.join();
  }
  ::close(listener_);
}

void LoopbackServer::accept_all() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      return;
    }
    ++connections_;
    peers_.emplace_back([this, fd] {
      Peer peer(fd);
      handler_(peer);
      ::close(fd);
    });
  }
}

std::string answer(std::string_view status, std::string_view body, std::string_view headers) {
  return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

}  // namespace tern::testing
