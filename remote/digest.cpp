#include "remote/digest.h"

#include <openssl/evp.h>

#include "engine/base/check.h"

namespace tern {

struct Digest::State {
  explicit State(const EVP_MD* kind) : context(EVP_MD_CTX_new()) {
    TERN_CHECK(context != nullptr && EVP_DigestInit_ex(context, kind, nullptr) == 1,
               "this OpenSSL lacks a checksum");
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }

  EVP_MD_CTX* context;
};

Digest::Digest(std::unique_ptr<State> state) : state_(std::move(state)) {}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

Digest Digest::sha256() {
  return Digest(std::make_unique<State>(EVP_sha256()));
}

Digest Digest::git_blob(uint64_t size) {
  Digest digest(std::make_unique<State>(EVP_sha1()));
  digest.add("blob " + std::to_string(size) + std::string(1, '\0'));
  return digest;
}

void Digest::add(std::string_view bytes) {
  TERN_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1,
             "a checksum failed");
}

std::string Digest::finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned count = 0;
  TERN_CHECK(EVP_DigestFinal_ex(state_->context, bytes, &count) == 1, "a checksum failed");
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < count; ++i) {
    text += kDigits[bytes[i] / 16];
    text += kDigits[bytes[i] % 16];
  }
  return text;
}

}  // namespace tern
