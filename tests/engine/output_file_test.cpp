#include "engine/base/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <string>
#include <thread>

#include "engine/base/file.h"
#include "engine/base/input_file.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

class OutputFileTest : public ::testing::Test {
 protected:
  OutputFileTest() { ::umask(022); }
  ~OutputFileTest() override { ::umask(umask_); }

  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path file(const std::string& name, const std::string& text, mode_t mode = 0644) const {
    const fs::path where = path(name);
    EXPECT_TRUE(write_file_atomically(where, text));
    EXPECT_EQ(::chmod(where.c_str(), mode), 0);
    return where;
  }
  static struct stat status(const fs::path& where) {
    struct stat found {};
    EXPECT_EQ(::lstat(where.c_str(), &found), 0) << where;
    return found;
  }
  static mode_t mode(const fs::path& where) { return status(where).st_mode & 07777U; }
  static std::string text(const fs::path& where) { return read_text_file(where).value(); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_ / ""), {}));
  }

  testing::TempFolder folder_;
  const mode_t umask_ = ::umask(022);
};

TEST_F(OutputFileTest, NewFilesHaveTheUsualModeAndPrivateOnesTheirs) {
  ASSERT_TRUE(write_file_atomically(path("a"), "x"));
  EXPECT_EQ(mode(path("a")), 0644U);
  ASSERT_TRUE(write_output(path("b"), "x", {.is_private = true}));
  EXPECT_EQ(mode(path("b")), 0600U);
  ::umask(077);
  ASSERT_TRUE(write_file_atomically(path("c"), "x"));
  EXPECT_EQ(mode(path("c")), 0600U);
}

TEST_F(OutputFileTest, AReplacedFileLendsItsModeAndOwner) {
  file("a", "old", 0600);
  file("b", "old", 0755);
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::chown(path("a").c_str(), 65534, 65533), 0);
  }
  ASSERT_TRUE(write_file_atomically(path("a"), "new"));
  ASSERT_TRUE(write_output(path("b"), "new", {.replace = true, .is_private = true}));
  EXPECT_EQ(text(path("a")), "new");
  EXPECT_EQ(mode(path("a")), 0600U);
  EXPECT_EQ(mode(path("b")), 0755U);
  if (root) {
    EXPECT_EQ(status(path("a")).st_uid, 65534U);
    EXPECT_EQ(status(path("a")).st_gid, 65533U);
  }
}

TEST_F(OutputFileTest, FilesWithContentAreReplacedOnlyIfAsked) {
  file("full", "precious");
  file("empty", "");
  const auto refused = OutputFile::create(path("full"));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("--force"), std::string::npos);
  EXPECT_EQ(text(path("full")), "precious");
  ASSERT_TRUE(write_output(path("empty"), "x", {}));
  EXPECT_EQ(text(path("empty")), "x");
}

TEST_F(OutputFileTest, AFileThatCameMeanwhileIsKept) {
  OutputFile output = std::move(OutputFile::create(path("a"))).value();
  ASSERT_TRUE(output.write(std::as_bytes(std::span("new"))));
  file("a", "precious");
  EXPECT_FALSE(output.commit());
  EXPECT_EQ(text(path("a")), "precious");
}

TEST_F(OutputFileTest, LinksAreFollowedAndStay) {
  file("target", "old", 0640);
  fs::create_symlink("target", path("link"));
  fs::create_symlink("link", path("second"));
  ASSERT_TRUE(write_file_atomically(path("second"), "new"));
  EXPECT_TRUE(fs::is_symlink(path("link")) && fs::is_symlink(path("second")));
  EXPECT_EQ(text(path("target")), "new");
  EXPECT_EQ(mode(path("target")), 0640U);
  EXPECT_FALSE(OutputFile::create(path("second")));  // the target has content
  EXPECT_EQ(entries(), 3U);
}

TEST_F(OutputFileTest, ALinkToNothingMakesItsTarget) {
  fs::create_directory(path("below"));
  fs::create_symlink("below/made", path("link"));
  {
    const auto given_up = OutputFile::create(path("link"));
    ASSERT_TRUE(given_up) << given_up.error().message;
  }
  EXPECT_FALSE(fs::exists(path("below/made")));
  ASSERT_TRUE(write_output(path("link"), "new", {}));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(text(path("below/made")), "new");
  fs::create_symlink("no/such/folder", path("broken"));
  EXPECT_FALSE(OutputFile::create(path("broken")));
  fs::create_symlink("loop", path("loop"));
  EXPECT_FALSE(OutputFile::create(path("loop")));
}

TEST_F(OutputFileTest, ALinkIsReplacedWhereItMustNotBeFollowed) {
  file("victim", "precious");
  fs::create_symlink("victim", path("link"));
  ASSERT_TRUE(write_output(path("link"), "new", {.replace = true, .follow_links = false}));
  EXPECT_EQ(text(path("victim")), "precious");
  EXPECT_FALSE(fs::is_symlink(path("link")));
  EXPECT_EQ(text(path("link")), "new");
}

TEST_F(OutputFileTest, PipesAreWrittenNotReplaced) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  auto reader = std::async(std::launch::async, [&] { return read_stream_or_file(path("fifo")); });
  ASSERT_TRUE(write_output(path("fifo"), "through", {}));
  EXPECT_EQ(reader.get().value(), "through");
  EXPECT_TRUE(S_ISFIFO(status(path("fifo")).st_mode));
}

// Nodes of our own: a fault here must not cost the machine its /dev/full.
TEST_F(OutputFileTest, DevicesAreWrittenNotReplaced) {
  const dev_t full = status("/dev/full").st_rdev;
  if (::mknod(path("full").c_str(), S_IFCHR | 0666, full) != 0) {
    GTEST_SKIP() << "only root may make device nodes";
  }
  ASSERT_EQ(::mknod(path("null").c_str(), S_IFCHR | 0666, status("/dev/null").st_rdev), 0);
  const int probe = ::open(path("null").c_str(), O_WRONLY);
  if (probe < 0) {
    GTEST_SKIP() << "device nodes do not work in this folder";
  }
  ::close(probe);
  EXPECT_TRUE(write_file_atomically(path("null"), "gone"));
  const auto written = write_file_atomically(path("full"), "too much");
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find("No space"), std::string::npos);
  EXPECT_TRUE(S_ISCHR(status(path("full")).st_mode) && S_ISCHR(status(path("null")).st_mode));
  // A disk: major 7, minor 255 is a loop device that nothing uses; it is not opened.
  ASSERT_EQ(::mknod(path("disk").c_str(), S_IFBLK | 0600, 0x7FF), 0);
  EXPECT_FALSE(write_file_atomically(path("disk"), "x"));
  EXPECT_TRUE(S_ISBLK(status(path("disk")).st_mode));
}

TEST_F(OutputFileTest, NamesThatAreNoneAreRefused) {
  const std::string nul("a\0b", 3);
  for (const std::string& name : {nul, std::string("a\x1b[31m"), std::string("a\nb")}) {
    const auto refused = OutputFile::create(path("") / name);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message.find('\x1b'), std::string::npos);
  }
  EXPECT_FALSE(OutputFile::create(""));
  EXPECT_FALSE(OutputFile::create(path("")));
  EXPECT_EQ(entries(), 0U);
}

TEST_F(OutputFileTest, FoldersOfAUserAreTheirs) {
  ASSERT_TRUE(make_private_folders(path("a/b/c")));
  EXPECT_EQ(mode(path("a")), 0700U);
  EXPECT_EQ(mode(path("a/b/c")), 0700U);
  ASSERT_EQ(::chmod(path("a").c_str(), 0755), 0);
  ASSERT_TRUE(make_private_folders(path("a/b")));
  EXPECT_EQ(mode(path("a")), 0755U);  // what is there stays as the user made it
  file("f", "x");
  EXPECT_FALSE(make_private_folders(path("f")));
  EXPECT_FALSE(make_private_folders(path("f/g")));
}

TEST_F(OutputFileTest, ReadingIsNotHeldUpByWhatIsNoFile) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  for (const fs::path& where : {path("fifo"), path(""), fs::path("/dev/zero")}) {
    EXPECT_FALSE(MappedFile::open(where)) << where;
    EXPECT_FALSE(read_text_file(where)) << where;
  }
  EXPECT_EQ(read_stream_or_file("/dev/null").value(), "");
  EXPECT_FALSE(read_stream_or_file("/dev/zero", 1 << 20));  // has no end
  EXPECT_FALSE(read_stream_or_file(path("")));
  file("a", "whole");
  EXPECT_EQ(read_stream_or_file(path("a")).value(), "whole");
  EXPECT_FALSE(read_text_file(path("a"), 4));
  EXPECT_EQ(read_text_file(path("a"), 5).value(), "whole");
  const std::string cut = path("a").string() + std::string("\0.gguf", 6);
  EXPECT_FALSE(read_text_file(cut));
  EXPECT_FALSE(MappedFile::open(cut));
}

TEST_F(OutputFileTest, AFifoWaitsForItsWriter) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(write_file_atomically(path("fifo"), "late"));
  });
  EXPECT_EQ(read_stream_or_file(path("fifo")).value(), "late");
  writer.join();
}

}  // namespace
}  // namespace tern
