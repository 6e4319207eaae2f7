#pragma once
// Checksums of downloads, fed piece by piece.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tern {

class Digest {
 public:
  static Digest sha256();
  // The name that git gives a file of `size` bytes with this content: what a hub says of files that it keeps in git itself.
  static Digest git_blob(uint64_t size);

  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void add(std::string_view bytes);
  // Lowercase hexadecimal, of everything added. Ends the digest.
  std::string finish();

 private:
  struct State;
  explicit Digest(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace tern
