#include "tools/logits_file.h"

#include <array>
#include <cstring>
#include <limits>
#include <string_view>

#include "remote/digest.h"

namespace tern::cli {
namespace {

constexpr std::array<char, 8> kMagic = {'T', 'E', 'R', 'N', 'L', 'O', 'G', 'P'};
constexpr uint32_t kVersion = 1;

// The head as it lies in the file.
struct RawHead {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t vocab;
  uint32_t context;
  uint32_t first;
  uint32_t chunks;
  std::array<char, 64> digest;
};
static_assert(sizeof(RawHead) == 92 && sizeof(RawHead) % sizeof(float) == 0);

Result<void> check_numbers(const RawHead& raw) {
  constexpr uint32_t kMost = std::numeric_limits<int32_t>::max();
  if (raw.vocab == 0 || raw.vocab > kMost || raw.context > kMost || raw.context < 2 ||
      raw.first >= raw.context - 1 || raw.chunks == 0 || raw.chunks > kMost) {
    return Error{"expected a vocabulary, windows and predictions, found " +
                 std::to_string(raw.chunks) + " windows of " + std::to_string(raw.context) +
                 " tokens, predicted from " + std::to_string(raw.first) +
                 " on, of a vocabulary of " + std::to_string(raw.vocab) +
                 ". The file is damaged: save the logits again."};
  }
  return {};
}

}  // namespace

std::string digest_of(std::span<const TokenId> tokens) {
  Digest digest = Digest::sha256();
  digest.add({reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()});
  return digest.finish();
}

Result<LogitsHead> read_logits_head(std::span<const std::byte> file) {
  RawHead raw{};
  if (file.size() < sizeof raw || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0) {
    return Error{"expected logits that tern perplexity --save-logits wrote, found another file."};
  }
  std::memcpy(&raw, file.data(), sizeof raw);
  if (raw.version != kVersion) {
    return Error{"expected logits in version " + std::to_string(kVersion) + ", found version " +
                 std::to_string(raw.version) + ". Save them again with this program."};
  }
  RETURN_IF_ERROR(check_numbers(raw));
  LogitsHead head{.vocab = static_cast<int32_t>(raw.vocab),
                  .context = static_cast<int32_t>(raw.context),
                  .first = static_cast<int32_t>(raw.first),
                  .chunks = static_cast<int32_t>(raw.chunks),
                  .digest = std::string(raw.digest.data(), raw.digest.size())};
  // Divided, not multiplied: the product of damaged numbers would overflow.
  const uint64_t content = file.size() - sizeof raw;
  const uint64_t row = uint64_t{raw.vocab} * sizeof(float);
  if (content % row != 0 || content / row != static_cast<uint64_t>(head.rows())) {
    return Error{"expected " + std::to_string(head.rows()) + " rows of " + std::to_string(row) +
                 " bytes, found " + std::to_string(content) +
                 " bytes. The file is cut off or damaged: save the logits again."};
  }
  return head;
}

Result<LogitsWriter> LogitsWriter::create(OutputFile file, const LogitsHead& head) {
  RawHead raw{.magic = kMagic,
              .version = kVersion,
              .vocab = static_cast<uint32_t>(head.vocab),
              .context = static_cast<uint32_t>(head.context),
              .first = static_cast<uint32_t>(head.first),
              .chunks = static_cast<uint32_t>(head.chunks),
              .digest = {}};
  TERN_CHECK(head.digest.size() == raw.digest.size(), "a digest of another length");
  std::memcpy(raw.digest.data(), head.digest.data(), raw.digest.size());
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(&raw, 1))));
  return LogitsWriter(std::move(file), head.rows());
}

Result<void> LogitsWriter::add(std::span<const float> row) {
  --missing_;
  return file_.write(std::as_bytes(row));
}

Result<void> LogitsWriter::commit() {
  TERN_CHECK(missing_ == 0, "a file of logits lacks rows that its head promises");
  return file_.commit();
}

Result<LogitsFile> LogitsFile::open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  Result<LogitsHead> head = read_logits_head(file.bytes());
  if (!head) {
    return head.error().in(path);
  }
  return LogitsFile(std::move(file), std::move(*head));
}

std::span<const std::byte> LogitsFile::row(int64_t index) const {
  const size_t size = static_cast<size_t>(head_.vocab) * sizeof(float);
  return file_.bytes().subspan(sizeof(RawHead) + static_cast<size_t>(index) * size, size);
}

std::span<const float> LogitsFile::next() {
  TERN_CHECK(next_ < head_.rows(), "no row of logits is left");
  if (next_ > 0) {
    file_.drop(row(next_ - 1));
  }
  const std::span<const std::byte> bytes = row(next_++);
  return {reinterpret_cast<const float*>(bytes.data()), static_cast<size_t>(head_.vocab)};
}

}  // namespace tern::cli
