#include "engine/io/file_kind.h"

#include <algorithm>
#include <cstring>

#include "engine/io/tensor_file.h"

namespace tern {
namespace {

constexpr std::string_view kAgain = "download it again.";
constexpr std::string_view kUnpack = "unpack it, and give the file or folder that comes out.";
constexpr std::string_view kNotThePage =
    "download the file itself, not the page about it (an address of Hugging Face has /resolve/, "
    "not "
    "/blob/; a model with conditions needs a token).";

// First bytes that belong to one kind of file alone.
struct Magic {
  std::string_view bytes, what, advice;
};
using namespace std::string_view_literals;
constexpr Magic kMagics[] = {
    {"version https://git-lfs"sv, "a Git LFS pointer",
     "fetch the file itself with \"git lfs pull\", or download it again."},
    {"version https://hawser"sv, "a Git LFS pointer",
     "fetch the file itself with \"git lfs pull\", or download it again."},
    {"# xet version"sv, "a Git Xet pointer",
     "fetch the file itself with \"git xet checkout\" or \"hf download\", or download it again."},
    {"/annex/objects/"sv, "a git-annex pointer", "fetch the file itself with \"git annex get\"."},
    {"GGUF"sv, "a GGUF file", ""},
    {"FUGG"sv, "a big-endian GGUF file", "get the little-endian file of this model."},
    {"lmgg"sv, "a GGML file from before GGUF", "get a GGUF file of this model."},
    {"fmgg"sv, "a GGML file from before GGUF", "get a GGUF file of this model."},
    {"tjgg"sv, "a GGML file from before GGUF", "get a GGUF file of this model."},
    {"algg"sv, "a GGML file from before GGUF", "get a GGUF file of this model."},
    {"PK\x03\x04"sv, "a ZIP or PyTorch file", ""},
    {"\x1F\x8B"sv, "a gzip file", kUnpack},
    {"\x28\xB5\x2F\xFD"sv, "a Zstandard file", kUnpack},
    {"\xFD\x37zXZ\0"sv, "an xz file", kUnpack},
    {"BZh"sv, "a bzip2 file", kUnpack},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7-Zip file", kUnpack},
    {"Rar!"sv, "a RAR file", kUnpack},
    {"\x89HDF\r\n"sv, "an HDF5 file (of Keras or TensorFlow)", ""},
    {"\x93NUMPY"sv, "a NumPy file", ""},
    {"%PDF"sv, "a PDF document", kAgain},
    {"SQLite format 3"sv, "an SQLite database", kAgain},
    {"\x89PNG"sv, "a picture", kAgain},
    {"\x7F\x45LF"sv, "a program", kAgain},
};

bool begins_like(std::string_view text, std::string_view lower_case) {
  return text.size() >= lower_case.size() &&
         std::ranges::equal(text.substr(0, lower_case.size()), lower_case, [](char a, char b) {
           return a == b || (a >= 'A' && a <= 'Z' && a + ('a' - 'A') == b);
         });
}

// Pages and messages of servers, behind a byte order mark and blanks.
std::optional<FileKind> kind_of_text(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) {
    text.remove_prefix(3);
  }
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (begins_like(text, "<!doctype") || begins_like(text, "<html") || begins_like(text, "<head")) {
    return FileKind{"a web page", std::string(kNotThePage)};
  }
  if (begins_like(text, "<?xml") || begins_like(text, "<error>")) {
    return FileKind{"an XML text, which storage servers send instead of a file that they refuse",
                    std::string(kAgain)};
  }
  for (const std::string_view refusal :
       {"entry not found", "repository not found", "invalid username or password",
        "access to model ", "unauthorized", "not found", "404: not found", "forbidden"}) {
    if (begins_like(text, refusal)) {
      return FileKind{
          "a server's refusal (\"" + printable(text.substr(0, text.find_first_of("\r\n"))) + "\")",
          "download it again, with a token if the model asks for one."};
    }
  }
  return {};
}

bool is_pickle(std::string_view text) {
  return text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
}

bool is_tar(std::string_view text) {
  constexpr size_t kAt = 257;  // where the format has its name
  return text.size() > kAt + 5 && text.substr(kAt, 5) == "ustar";
}

// A serialized ModelProto begins with field 1, a piece, whose field 1 is its text: "<unk>", "<pad>" or "<s>".
bool is_sentencepiece(std::string_view text) {
  return text.size() > 8 && text[0] == '\n' && text[2] == '\n' && text[4] == '<';
}

// Lines of a token in base64 and its rank, the first of which is "!": Llama 3's tokenizer.model, Qwen's qwen.tiktoken.
bool is_tiktoken(std::string_view text) {
  return text.starts_with("IQ== 0\n");
}

// A length of eight bytes that fits, and a JSON object.
bool is_safetensors(std::string_view text) {
  return text.size() > 9 && text[8] == '{' && text.substr(4, 4) == "\0\0\0\0"sv;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::optional<FileKind> kind_of_file(std::span<const std::byte> bytes) {
  constexpr size_t kLook = 512;
  const std::string_view text = text_of(bytes).substr(0, kLook);
  if (text.empty()) {
    return FileKind{"an empty file", std::string(kAgain)};
  }
  for (const Magic& magic : kMagics) {
    if (text.starts_with(magic.bytes)) {
      return FileKind{std::string(magic.what), std::string(magic.advice)};
    }
  }
  if (is_pickle(text)) {
    return FileKind{"a Python pickle (an old PyTorch file), which can run programs when it is read",
                    ""};
  }
  if (is_tar(text)) {
    return FileKind{"a tar archive", std::string(kUnpack)};
  }
  if (is_safetensors(text)) {
    return FileKind{"a safetensors file", ""};
  }
  if (is_tiktoken(text)) {
    return FileKind{"a vocabulary of tiktoken", ""};
  }
  if (is_sentencepiece(text)) {
    return FileKind{"a SentencePiece model", ""};
  }
  if (text.size() >= 16 && text.find_first_not_of('\0') == text.npos) {
    return FileKind{"nothing but zeros at its beginning: a download that was not finished",
                    std::string(kAgain)};
  }
  if (std::optional<FileKind> of_text = kind_of_text(text)) {
    return of_text;
  }
  if (const char first =
          text[text.find_first_not_of(" \t\r\n") != text.npos ? text.find_first_not_of(" \t\r\n")
                                                              : 0];
      first == '{' || first == '[') {
    return FileKind{"a JSON text (\"" + printable(text, 60) + "\")", "", true};
  }
  return {};
}

Error wrong_kind_of_file(std::span<const std::byte> bytes, std::string_view wanted,
                         std::string_view advice) {
  const FileKind kind = kind_of_file(bytes).value_or(FileKind{"something else", ""});
  return Error{"expected " + std::string(wanted) + ", found " + kind.what + ": " +
               (kind.advice.empty() ? std::string(advice) : kind.advice)};
}

Result<void> refuse_wrong_kind_of_text(std::string_view text, std::string_view wanted) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  const std::optional<FileKind> kind = kind_of_file(bytes);
  if (kind && !kind->is_text) {
    return wrong_kind_of_file(bytes, wanted, kAgain);
  }
  return {};
}

std::string unfinished_download(const std::filesystem::path& path) {
  std::error_code ignored;
  for (const char* end : {".part", ".incomplete", ".aria2", ".crdownload", ".partial", ".download",
                          ".opdownload", ".tmp", ".st"}) {
    std::filesystem::path beside = path;
    beside += end;
    if (std::filesystem::exists(beside, ignored)) {
      return beside.filename().string();
    }
  }
  return {};
}

Error error_in_file(const Error& error, const std::filesystem::path& path) {
  const std::string unfinished = unfinished_download(path);
  const std::string word =
      unfinished.empty()
          ? ""
          : " (" + printable(unfinished) + " lies beside it: the download was not finished.)";
  return Error{path.string() + ": " + error.message + word};
}

Result<MappedFile> open_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? MappedFile::open(path)
                                                : Result<MappedFile>(missing_file(path));
}

Error missing_file(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::string unfinished = unfinished_download(path);
  if (!unfinished.empty()) {
    return Error{path.string() + ": this file is not there, but " + printable(unfinished) +
                 " lies beside it: its download was not finished; begin it again."};
  }
  if (std::filesystem::is_symlink(path, ignored)) {
    return Error{path.string() + ": this is a link to " +
                 printable(std::filesystem::read_symlink(path, ignored).string()) +
                 ", which is not there: the download was not finished, or the file was removed; " +
                 std::string(kAgain)};
  }
  return Error{path.string() +
               ": this file is not there: the folder is incomplete; download it again."};
}

}  // namespace tern
