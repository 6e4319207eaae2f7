#pragma once
// Opening files to read them. Most were written by strangers, and what lies under a name may be no file at all.

#include <cstddef>
#include <filesystem>
#include <string>

#include "engine/base/descriptor.h"
#include "engine/base/result.h"

namespace tern {

// A regular file, open for reading; where something else lies (a directory, a device, a pipe, which would be waited for without
// end) it is an error. Refuses paths with control characters: no file that was meant has such a name, and the system would cut
// one with a NUL.
Result<Descriptor> open_regular_file(const std::filesystem::path& path);

// read_text_file() where a stream makes sense too: "-" is standard input, and pipes (`<(...)`, a FIFO whose writer is waited for) and
// character devices (/dev/stdin, /dev/null) are read to their end.
Result<std::string> read_stream_or_file(const std::filesystem::path& path,
                                        size_t limit = size_t{64} << 20);

// Why no file may have this name; nothing if it may. Names with control characters are refused.
Result<void> check_path(const std::filesystem::path& path);

// "PATH: WHAT: " and the system's reason (errno).
Error system_error(const std::filesystem::path& path, const std::string& what);

}  // namespace tern
