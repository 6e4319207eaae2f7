#pragma once
// What a file is that is not what its name says: pointers of Git LFS, web pages, other containers.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/file.h"
#include "engine/base/result.h"

namespace tern {

struct FileKind {
  std::string what;  // "a Git LFS pointer"
  std::string
      advice;  // "fetch the file itself with ..."; empty where it depends on what was wanted
  bool is_text = false;  // that JSON or a chat template could begin in the same way
};

// Told by the first bytes (and, for Git's pointers, the size); nothing if they say nothing.
std::optional<FileKind> kind_of_file(std::span<const std::byte> bytes);

// "expected a GGUF file, found a Git LFS pointer: fetch the file itself with ...". `wanted` is "a GGUF file",
// `advice` what to do where the kind has no advice of its own.
Error wrong_kind_of_file(std::span<const std::byte> bytes, std::string_view wanted,
                         std::string_view advice);

// Refuses what is certainly not the text that was wanted, although a reader of that text might take it: a chat
// template may be any text, so a pointer or a web page would be one too.
Result<void> refuse_wrong_kind_of_text(std::string_view text, std::string_view wanted);

// The error about a file that is not there. Says so where an unfinished download of it lies beside it, or where the
// name is a link whose target is gone.
Error missing_file(const std::filesystem::path& path);

// Opens a file of a model, with these errors if it is not there.
Result<MappedFile> open_file(const std::filesystem::path& path);

// What is wrong with a file, with its name, and a word on an unfinished download of it.
Error error_in_file(const Error& error, const std::filesystem::path& path);

// What lies beside a file whose download was not finished (x.part, x.aria2, ...); empty if nothing.
std::string unfinished_download(const std::filesystem::path& path);

}  // namespace tern
