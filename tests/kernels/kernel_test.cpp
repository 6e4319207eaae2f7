#include "tests/kernels/kernel_test.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace tern::testing {
namespace {

uint32_t choose_seed() {
  const char* given = std::getenv("TERN_TEST_SEED");
  return given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10))
                          : std::random_device()();
}

// What to print when a kernel touches a guard page, which ends the program: gtest has no chance to.
std::array<char, 512> crash_note{};

[[maybe_unused]] void on_stray_access(int signal) {
  [[maybe_unused]] const ssize_t written =
      write(STDERR_FILENO, crash_note.data(), std::strlen(crash_note.data()));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void prepare_crash_note() {
  const std::string note = "a kernel left its buffers; replay: " + replay_command() + "\n";
  crash_note.fill(0);
  std::copy_n(note.begin(), std::min(note.size(), crash_note.size() - 1), crash_note.begin());
#ifndef __SANITIZE_ADDRESS__  // which reports more than this
  std::signal(SIGSEGV, on_stray_access);
#endif
}

}  // namespace

uint32_t test_seed() {
  static const uint32_t kSeed = choose_seed();
  return kSeed;
}

std::string replay_command() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const char* isa = std::getenv("TERN_ISA");
  std::string command = "TERN_TEST_SEED=" + std::to_string(test_seed());
  command += isa != nullptr ? " TERN_ISA=" + std::string(isa) : "";
  return command + " kernels_test --gtest_filter=" + test->test_suite_name() + "." + test->name();
}

void KernelTest::SetUp() {
  random_.seed(test_seed());
  prepare_crash_note();
  const char* isa = std::getenv("TERN_ISA");
  bool known = isa == nullptr;
  for (const KernelTable* table : all_tables()) {
    const bool wanted = isa == nullptr || std::string_view(isa) == table->name;
    known = known || wanted;
    if (wanted && runs_here(*table)) {
      tables_.push_back(table);
    }
  }
  ASSERT_TRUE(known) << "TERN_ISA=" << isa << ": there is no kernel table of that name";
  if (tables_.empty()) {
    GTEST_SKIP() << "this CPU cannot run the table " << isa;
  }
}

}  // namespace tern::testing
