// The ledger: sums, caps, several processes at once, and processes that are killed.

#include "remote/ledger.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "remote/process_mark.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

constexpr int64_t kDay = 86'400'000;
constexpr int64_t kNow = 1'772'366'400'000;  // 2026-03-01 12:00 UTC

PlannedCall planned(NanoDollars worst, int64_t at = kNow) {
  return {"holysheep", "deepseek-v3.2", "a reason", at, worst};
}

SettledCall settled(NanoDollars cost) {
  SettledCall call;
  call.prompt_tokens = 7;
  call.completion_tokens = 3;
  call.cost = cost;
  call.first_token_ms = 20;
  return call;
}

TEST(Ledger, SumsAndGroups) {
  const testing::TempFolder folder;
  Ledger ledger = std::move(*Ledger::open(folder / "state/remote.db"));
  const auto add = [&](const char* provider, const char* model, int64_t at, NanoDollars cost) {
    const auto reserved = ledger.reserve({provider, model, "r", at, 1000}, {});
    ASSERT_TRUE(ledger.settle(reserved->id, settled(cost)));
  };
  add("holysheep", "a", kNow - kDay, 1);
  add("holysheep", "b", kNow, 20);
  add("openai", "a", kNow, 300);
  ASSERT_TRUE(ledger.reserve(planned(4000), {}));  // never settled: at its worst cost
  const auto all = ledger.sums(0, LedgerGroup::kAll).value();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].calls, 4);
  EXPECT_EQ(all[0].cost, 4321);
  EXPECT_EQ(all[0].unsettled, 1);
  EXPECT_EQ(all[0].prompt_tokens, 21);
  EXPECT_EQ(all[0].mean_first_token_ms, 20);
  const auto providers = ledger.sums(0, LedgerGroup::kProvider).value();
  ASSERT_EQ(providers.size(), 2U);
  EXPECT_EQ(providers[0].group, "holysheep");
  EXPECT_EQ(providers[0].cost, 4021);
  const auto days = ledger.sums(0, LedgerGroup::kDay).value();
  ASSERT_EQ(days.size(), 2U);
  EXPECT_EQ(days[0].group, "2026-02-28");
  EXPECT_EQ(days[0].cost, 1);
  EXPECT_EQ(ledger.sums(kNow, LedgerGroup::kModel)->size(), 3U);
}

TEST(Ledger, CapsHoldBeforeAnythingIsSent) {
  const testing::TempFolder folder;
  Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
  BudgetCaps caps;
  caps.call = 100;
  EXPECT_NE(ledger.reserve(planned(101), caps)->refused.find("a call"), std::string::npos);
  EXPECT_EQ(ledger.reserve(planned(100), caps)->refused, "");  // counts 100 until it is settled
  caps.day = 150;
  EXPECT_NE(ledger.reserve(planned(51), caps)->refused.find("a day"), std::string::npos);
  const auto last = ledger.reserve(planned(50), caps);
  EXPECT_EQ(last->refused, "");
  ASSERT_TRUE(ledger.settle(last->id, settled(10)));
  EXPECT_EQ(ledger.reserve(planned(40), caps)->refused, "");  // 100 + 10 + 40
  EXPECT_NE(ledger.reserve(planned(1), caps)->refused, "");
  EXPECT_EQ(ledger.reserve(planned(1, kNow + kDay), caps)->refused, "");  // a new day
  caps.day = {};
  caps.month = 151;
  EXPECT_NE(ledger.reserve(planned(1, kNow + 30 * kDay), caps)->refused, "");  // 31 March
  EXPECT_EQ(ledger.reserve(planned(1, kNow + 31 * kDay), caps)->refused, "");  // 1 April
}

TEST(Ledger, AnUnknownPriceIsRefusedUnderACap) {
  const testing::TempFolder folder;
  Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
  const PlannedCall unknown{"desk", "m", "r", kNow, {}};
  EXPECT_EQ(ledger.reserve(unknown, {})->refused, "");
  BudgetCaps caps;
  caps.month = nano_dollars(5);
  EXPECT_NE(ledger.reserve(unknown, caps)->refused.find("not known"), std::string::npos);
  caps.allow_unknown_prices = true;
  EXPECT_EQ(ledger.reserve(unknown, caps)->refused, "");
  EXPECT_EQ(ledger.sums(0, LedgerGroup::kAll)->front().unpriced, 2);
}

TEST(Ledger, KeepsWhatWasLearnt) {
  const testing::TempFolder folder;
  {
    Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
    ASSERT_TRUE(ledger.change_breaker("a", "m", [](BreakerState& state) {
      note_failure(state, 5, 90, true);
      note_failure(state, 6, {}, false);
    }));
    ASSERT_TRUE(ledger.set_exhausted("a", 77, 5));
    ASSERT_TRUE(ledger.note_speed("m", {100, 10}));
    ASSERT_TRUE(ledger.note_speed("m", {200, 30}));
  }
  Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
  const auto rows = ledger.breakers().value();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].state.failures, 2);
  ASSERT_EQ(rows[0].state.recent.size(), 2U);
  EXPECT_EQ(rows[0].state.recent[1].at, 6);
  EXPECT_TRUE(rows[0].state.recent[1].failed);
  EXPECT_EQ(ledger.exhausted_until("a", 5).value(), 77);
  EXPECT_EQ(ledger.exhausted_until("b", 5).value(), 0);
  EXPECT_DOUBLE_EQ(ledger.speed("m").value()->prompt, 150);
  EXPECT_FALSE(ledger.speed("other").value());
}

TEST(Ledger, TheFirstSettlementStays) {
  const testing::TempFolder folder;
  Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
  const auto reserved = ledger.reserve(planned(100), {});
  ASSERT_TRUE(ledger.settle(reserved->id, settled(7)));
  ASSERT_TRUE(ledger.settle(reserved->id, settled(9)));
  EXPECT_EQ(ledger.sums(0, LedgerGroup::kAll)->front().cost, 7);
}

PlannedCall with_estimate(NanoDollars worst, NanoDollars likely, int64_t at = kNow) {
  PlannedCall call = planned(worst, at);
  call.likely = likely;
  call.likely_prompt_tokens = 5;
  return call;
}

// Runs `work` in a process of its own, and ends that as a crash does.
void in_a_process_that_dies(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
}

TEST(Ledger, ACallWhoseProcessDiedIsBookedByItsEstimate) {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder / "remote.db";
  in_a_process_that_dies([&] {
    auto ledger = Ledger::open(path);
    const auto call = ledger->reserve(with_estimate(1'000'000, 50), {});
    static_cast<void>(ledger->note_progress(call->id, 12, 170));
    static_cast<void>(ledger->reserve(with_estimate(2'000'000, 60), {}));
  });
  Ledger ledger = std::move(*Ledger::open(path));
  const LedgerSum before = ledger.sums(0, LedgerGroup::kAll)->front();
  EXPECT_EQ(before.unsettled, 2);
  EXPECT_EQ(before.cost, 3'000'000);
  BudgetCaps caps;
  caps.day = 1000;  // the worst of the two would not leave anything of it
  const auto mine = ledger.reserve(with_estimate(500, 70), caps);
  EXPECT_EQ(mine->refused, "");
  const LedgerSum after = ledger.sums(0, LedgerGroup::kAll)->front();
  EXPECT_EQ(after.unsettled, 1);  // this process still runs
  EXPECT_EQ(after.cost, 170 + 60 + 500);
  EXPECT_EQ(after.estimated, 2);
  EXPECT_EQ(after.completion_tokens, 12);
  EXPECT_EQ(ledger.settle_abandoned(kNow, true).value(), 0);
  // What this process says of its own call counts.
  ASSERT_TRUE(ledger.settle(mine->id, settled(9)));
  EXPECT_EQ(ledger.sums(0, LedgerGroup::kAll)->front().cost, 170 + 60 + 9);
}

void run_sql(const std::filesystem::path& path, const std::string& sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(handle);
  sqlite3_close(handle);
}

// As the first version wrote it, with a call that never ended.
constexpr char kOldLedger[] = R"(CREATE TABLE calls(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, reason TEXT NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0, prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
  estimated INTEGER NOT NULL DEFAULT 0, cost INTEGER, latency_ms INTEGER NOT NULL DEFAULT 0,
  first_token_ms INTEGER NOT NULL DEFAULT 0, request_id TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '');
INSERT INTO calls(at, provider, model, reason, cost) VALUES(1772366400000, 'openai', 'gpt-4.1', 'r', 8380000000);)";

TEST(Ledger, AnOldLedgerIsReadAndItsOpenCallsEnd) {
  const testing::TempFolder folder;
  run_sql(folder / "remote.db", kOldLedger);
  Ledger ledger = std::move(*Ledger::open(folder / "remote.db"));
  // Whose call it was nobody knows: it stays for a day, or until the user says so.
  EXPECT_EQ(ledger.settle_abandoned(kNow + kDay, false).value(), 0);
  EXPECT_EQ(ledger.sums(0, LedgerGroup::kAll)->front().unsettled, 1);
  EXPECT_EQ(ledger.settle_abandoned(kNow, true).value(), 1);
  EXPECT_EQ(ledger.sums(0, LedgerGroup::kAll)->front().unsettled, 0);
  run_sql(folder / "remote.db", "UPDATE calls SET settled = 0");
  EXPECT_EQ(ledger.settle_abandoned(kNow + kDay + 1, false).value(), 1);
}

TEST(Ledger, MarksTellProcessesApart) {
  EXPECT_EQ(presence_of(process_mark()), Presence::kRunning);
  std::string of_child;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  in_a_process_that_dies([&] {
    const std::string mark = process_mark();
    EXPECT_EQ(::write(ends[1], mark.data(), mark.size()), static_cast<ssize_t>(mark.size()));
  });
  char text[512];
  const ssize_t count = ::read(ends[0], text, sizeof text);
  of_child.assign(text, static_cast<size_t>(std::max<ssize_t>(count, 0)));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(presence_of(of_child), Presence::kGone);
  // The same number, given to a process that began at another time.
  const std::string own = process_mark();
  EXPECT_EQ(presence_of(own.substr(0, own.rfind(' ')) + " 1"), Presence::kGone);
  EXPECT_EQ(presence_of("another" + own), Presence::kUnknown);  // machine
  EXPECT_EQ(presence_of(""), Presence::kUnknown);
}

TEST(Ledger, NobodyElseMayReadIt) {
  const testing::TempFolder folder;
  const auto mode = [&](const char* name) {
    struct stat info {};
    return ::stat((folder / name).c_str(), &info) == 0 ? info.st_mode & 0777U : 0;
  };
  {
    Ledger ledger = std::move(*Ledger::open(folder / "new.db"));
    ASSERT_TRUE(ledger.reserve(planned(1), {}));
    EXPECT_EQ(mode("new.db"), 0600U);
    EXPECT_EQ(mode("new.db-wal"), 0600U);
  }
  run_sql(folder / "old.db", kOldLedger);
  ASSERT_EQ(::chmod((folder / "old.db").c_str(), 0644), 0);
  ASSERT_TRUE(Ledger::open(folder / "old.db"));
  EXPECT_EQ(mode("old.db"), 0600U);
}

// Makes calls of 10 each until none is allowed any more or it is killed; counts them in a file of its own.
void spend(const std::filesystem::path& path, const BudgetCaps& caps,
           const std::filesystem::path& count) {
  auto ledger = Ledger::open(path);
  std::ofstream settled_calls(count);
  for (;;) {
    const auto reserved = ledger->reserve(planned(10), caps);
    if (!reserved || !reserved->refused.empty() || !ledger->settle(reserved->id, settled(10))) {
      return;
    }
    settled_calls << "x" << std::flush;
  }
}

int64_t count_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::distance(std::istreambuf_iterator<char>(file), {});
}

TEST(Ledger, TwoProcessesAndAKill) {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder / "remote.db";
  ASSERT_TRUE(Ledger::open(path));
  BudgetCaps caps;
  caps.day = 10'000;  // a thousand calls for both together
  pid_t children[2];
  for (int i = 0; i < 2; ++i) {
    children[i] = ::fork();
    if (children[i] == 0) {
      spend(path, caps, folder / std::to_string(i));
      ::_exit(0);
    }
  }
  // The first is killed in the midst of its calls.
  while (count_in(folder / "0") < 20 && ::waitpid(children[0], nullptr, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ::kill(children[0], SIGKILL);
  ::waitpid(children[0], nullptr, 0);
  int status = -1;
  ASSERT_EQ(::waitpid(children[1], &status, 0), children[1]);
  EXPECT_EQ(status, 0);

  auto ledger = Ledger::open(path);
  ASSERT_TRUE(ledger) << ledger.error().message;
  const auto sums = ledger->sums(0, LedgerGroup::kAll).value();
  ASSERT_EQ(sums.size(), 1U);
  EXPECT_EQ(sums[0].cost, 10'000);  // not a call more than the cap, and none lost
  EXPECT_EQ(sums[0].calls, 1000);
  EXPECT_LE(sums[0].unsettled, 1);  // the one that was on its way
  const int64_t counted = count_in(folder / "0") + count_in(folder / "1");
  // A call may have been settled and not counted yet when its process was killed.
  EXPECT_GE(sums[0].calls - sums[0].unsettled, counted);
  EXPECT_LE(sums[0].calls - sums[0].unsettled, counted + 1);
}

TEST(Ledger, WhatIsNoLedgerIsRefused) {
  const testing::TempFolder folder;
  std::ofstream(folder / "remote.db") << std::string(5000, 'x');
  const auto ledger = Ledger::open(folder / "remote.db");
  ASSERT_FALSE(ledger);
  EXPECT_NE(ledger.error().message.find("remote.db"), std::string::npos);
  EXPECT_NE(ledger.error().message.find("damaged: move the file away"), std::string::npos);
}

}  // namespace
}  // namespace tern
