#include "remote/ledger.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <sstream>

#include "engine/base/environment.h"
#include "engine/base/output_file.h"
#include "remote/process_mark.h"

namespace tern {
namespace {

constexpr int kWaitMs = 20'000;  // for another process's transaction, each of which takes a few ms

constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS calls(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, reason TEXT NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0, prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
  estimated INTEGER NOT NULL DEFAULT 0, cost INTEGER, latency_ms INTEGER NOT NULL DEFAULT 0,
  first_token_ms INTEGER NOT NULL DEFAULT 0, request_id TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS calls_at ON calls(at);
DROP TABLE IF EXISTS breakers;
DROP TABLE IF EXISTS exhausted;
CREATE TABLE IF NOT EXISTS server_breakers(
  address TEXT NOT NULL, model TEXT NOT NULL, failures INTEGER NOT NULL, open_until INTEGER NOT NULL,
  probe_since INTEGER NOT NULL, recent TEXT NOT NULL, PRIMARY KEY(address, model));
CREATE TABLE IF NOT EXISTS server_quotas(address TEXT PRIMARY KEY, until INTEGER NOT NULL, noted INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS server_refusals(
  address TEXT NOT NULL, field TEXT NOT NULL, noted INTEGER NOT NULL, PRIMARY KEY(address, field));
CREATE TABLE IF NOT EXISTS speeds(model TEXT PRIMARY KEY, prompt REAL NOT NULL, generation REAL NOT NULL);
CREATE INDEX IF NOT EXISTS calls_open ON calls(id) WHERE settled = 0;
)";

// Columns of `calls` that ledgers of earlier versions do not have.
constexpr const char* kNewColumns[][2] = {
    {"process", "TEXT NOT NULL DEFAULT ''"},  // of an open call
    {"likely", "INTEGER"},
    {"cached_tokens", "INTEGER NOT NULL DEFAULT 0"},
    {"upper_bound", "INTEGER NOT NULL DEFAULT 0"},
};

// Values of calls.settled. What was booked because its process seemed gone gives way to what that process says after all.
constexpr int64_t kSettled = 1;
constexpr int64_t kAbandoned = 2;

constexpr int64_t kLongestCallMs = 86'400'000;

// "time:failed time:failed ..."
std::string text_of(const std::vector<BreakerCall>& calls) {
  std::string text;
  for (const BreakerCall& call : calls) {
    text += std::to_string(call.at) + (call.failed ? ":1 " : ":0 ");
  }
  return text;
}

std::vector<BreakerCall> calls_of(const std::string& text) {
  std::vector<BreakerCall> calls;
  std::istringstream stream(text);
  BreakerCall call;
  char colon = 0;
  int failed = 0;
  while (stream >> call.at >> colon >> failed) {
    call.failed = failed != 0;
    calls.push_back(call);
  }
  return calls;
}

std::string cap_text(const char* which, NanoDollars cap, NanoDollars spent,
                     const PlannedCall& call) {
  const std::string costs = call.least
                                ? "even a short answer can cost " + dollars_text(*call.least)
                                : "this call can cost " + dollars_text(call.worst.value_or(0)) +
                                      ". A smaller -n lowers that";
  return std::string("the budget of ") + dollars_text(cap) + " a " + which +
         " would not hold: " + (spent > 0 ? dollars_text(spent) + " are spent, and " : "") + costs;
}

// What a call costs at least if it is made.
NanoDollars least_of(const PlannedCall& call) {
  return call.least.value_or(call.worst.value_or(0));
}

// What to do about an error of SQLite; the sentence before it names file and reason.
const char* advice_on(int code) {
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return " The ledger is damaged: move the file away, and a new one begins. What was spent is "
             "then forgotten.";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return " Another process holds the ledger: try again.";
    case SQLITE_FULL:
      return " Is the disk full?";
    default:
      return " The ledger must be a file that can be written: mend that, or name another folder "
             "with XDG_STATE_HOME.";
  }
}

// Only the user may read the file, and what SQLite puts beside it, which takes over the file's mode.
void make_private(const std::string& path) {
  // Made here, as SQLite would make it readable for all. An existing file is not opened: closing it again would
  // take away the locks that SQLite may hold on it in this process.
  const int made = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made >= 0) {
    ::close(made);
    return;
  }
  for (const char* end : {"", "-wal", "-shm"}) {
    struct stat info {};
    const std::string file = path + end;
    const bool open_to_others = ::stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
                                (info.st_mode & 077) != 0 && info.st_uid == ::geteuid();
    if (open_to_others) {
      ::chmod(file.c_str(), 0600);
    }
  }
}

}  // namespace

// A connection, one user at a time.
class Ledger::Database {
 public:
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  explicit Database(Error unusable) : handle_(nullptr), unusable_(std::move(unusable)) {}
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close(handle_); }

  Error error() const {
    return Error{path_ + ": " + sqlite3_errmsg(handle_) + "." +
                 advice_on(sqlite3_errcode(handle_))};
  }

  Result<void> run(const char* sql) {
    if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return error();
    }
    return {};
  }

  // Runs `work` alone: no thread, and no process that writes, comes between.
  Result<void> alone(const std::function<Result<void>()>& work) {
    if (unusable_) {
      return *unusable_;
    }
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(run("BEGIN IMMEDIATE"));
    Result<void> done = work();
    if (done) {
      done = run("COMMIT");
    }
    if (!done) {
      sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
    }
    return done;
  }

  sqlite3* handle() const { return handle_; }
  int64_t last_id() const { return sqlite3_last_insert_rowid(handle_); }

 private:
  sqlite3* handle_;
  std::string path_;
  std::optional<Error> unusable_;
  std::mutex mutex_;
};

namespace {

// One statement: values in, rows out.
class Statement {
 public:
  Statement(sqlite3* handle, const std::string& sql) {
    good_ = sqlite3_prepare_v2(handle, sql.c_str(), -1, &statement_, nullptr) == SQLITE_OK;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  Statement& with(int64_t value) {
    good_ = good_ && sqlite3_bind_int64(statement_, ++bound_, value) == SQLITE_OK;
    return *this;
  }
  Statement& with(double value) {
    good_ = good_ && sqlite3_bind_double(statement_, ++bound_, value) == SQLITE_OK;
    return *this;
  }
  Statement& with(const std::string& value) {
    good_ =
        good_ && sqlite3_bind_text(statement_, ++bound_, value.data(),
                                   static_cast<int>(value.size()), SQLITE_TRANSIENT) == SQLITE_OK;
    return *this;
  }
  Statement& with(std::optional<int64_t> value) {
    if (value) {
      return with(*value);
    }
    good_ = good_ && sqlite3_bind_null(statement_, ++bound_) == SQLITE_OK;
    return *this;
  }

  // True: there is a (further) row.
  bool next() {
    if (!good_) {
      return false;
    }
    const int got = sqlite3_step(statement_);
    good_ = got == SQLITE_ROW || got == SQLITE_DONE;
    return got == SQLITE_ROW;
  }
  bool good() const { return good_; }

  int64_t number(int column) const { return sqlite3_column_int64(statement_, column); }
  double real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const {
    const unsigned char* value = sqlite3_column_text(statement_, column);
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
    return value == nullptr ? std::string() : std::string(value, value + size);
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  bool good_ = false;
};

Result<void> add_new_columns(sqlite3* handle, const std::function<Result<void>(const char*)>& run) {
  std::vector<std::string> names;
  Statement columns(handle, "SELECT name FROM pragma_table_info('calls')");
  while (columns.next()) {
    names.push_back(columns.text(0));
  }
  for (const auto& [name, type] : kNewColumns) {
    if (std::ranges::find(names, name) == names.end()) {
      RETURN_IF_ERROR(
          run(("ALTER TABLE calls ADD COLUMN " + std::string(name) + " " + type).c_str()));
    }
  }
  return {};
}

BreakerState breaker_at(const Statement& row, int first) {
  return {static_cast<int32_t>(row.number(first)), row.number(first + 1), row.number(first + 2),
          calls_of(row.text(first + 3))};
}

}  // namespace

Ledger::Ledger(std::unique_ptr<Database> database) : database_(std::move(database)) {}
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger& Ledger::operator=(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

Result<Ledger> Ledger::open(const std::filesystem::path& path) {
  if (path.empty()) {
    return Error{"the ledger of remote calls: " + std::string(kNoHomeFolder)};
  }
  RETURN_IF_ERROR(make_private_folders(path.parent_path()));
  make_private(path.string());
  sqlite3* handle = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  auto database = std::make_unique<Database>(handle, path.string());
  if (opened != SQLITE_OK) {
    return database->error();
  }
  sqlite3_busy_timeout(handle, kWaitMs);
  // NORMAL: what is committed survives the end of the process, killed or not; a power cut may cost the last seconds.
  RETURN_IF_ERROR(database->run("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"));
  Database& tables = *database;
  const auto make_tables = [&]() -> Result<void> {
    RETURN_IF_ERROR(tables.run(kSchema));
    return add_new_columns(handle, [&](const char* sql) { return tables.run(sql); });
  };
  RETURN_IF_ERROR(tables.alone(make_tables));
  return Ledger(std::move(database));
}

Ledger Ledger::unusable(const Error& why) {
  return Ledger(std::make_unique<Database>(why));
}

// Within a transaction.
Result<int64_t> Ledger::book_abandoned(int64_t now, bool unknown_too) {
  std::vector<int64_t> abandoned;
  Statement open_calls(database_->handle(), "SELECT id, at, process FROM calls WHERE settled = 0");
  while (open_calls.next()) {
    const Presence presence = presence_of(open_calls.text(2));
    const bool old = now - open_calls.number(1) > kLongestCallMs;
    if (presence == Presence::kGone || (presence == Presence::kUnknown && (old || unknown_too))) {
      abandoned.push_back(open_calls.number(0));
    }
  }
  if (!open_calls.good()) {
    return database_->error();
  }
  for (const int64_t id : abandoned) {
    // Without an estimate the worst cost stays.
    Statement book(database_->handle(),
                   "UPDATE calls SET settled=?, estimated=1, cost=COALESCE(likely, cost), "
                   "error='abandoned' WHERE id=?");
    book.with(kAbandoned).with(id).next();
    if (!book.good()) {
      return database_->error();
    }
  }
  return static_cast<int64_t>(abandoned.size());
}

Result<int64_t> Ledger::settle_abandoned(int64_t now, bool unknown_too) {
  int64_t count = 0;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    ASSIGN_OR_RETURN(count, book_abandoned(now, unknown_too));
    return {};
  }));
  return count;
}

Result<void> Ledger::note_progress(int64_t id, int64_t completion_tokens,
                                   std::optional<NanoDollars> likely) {
  return database_->alone([&]() -> Result<void> {
    Statement update(database_->handle(),
                     "UPDATE calls SET completion_tokens=?, likely=? WHERE id=? AND settled=0");
    update.with(completion_tokens).with(likely).with(id).next();
    if (!update.good()) {
      return database_->error();
    }
    return {};
  });
}

// What a cap says without looking at what is spent; empty: nothing. `granted` becomes what it leaves
// of the worst cost.
static std::string refusal_by_itself(const PlannedCall& call, const BudgetCaps& caps,
                                     NanoDollars& granted) {
  if (caps.any() && !call.worst && !caps.allow_unknown_prices) {
    return "what " + call.model +
           " can cost is not known, and there is a budget: enter its price and "
           "context in providers.json, or allow it with --allow-unknown-price";
  }
  granted = call.worst.value_or(0);
  if (caps.call && least_of(call) > *caps.call) {
    return cap_text("call", *caps.call, 0, call);
  }
  if (caps.call) {
    granted = std::min(granted, *caps.call);
  }
  return {};
}

Result<std::string> Ledger::refusal_by_sums(const PlannedCall& call, const BudgetCaps& caps,
                                            NanoDollars& granted) {
  std::string refused;
  const auto over = [&](const char* which, std::optional<NanoDollars> cap, int64_t since) {
    if (!cap) {
      return true;
    }
    Statement sum(database_->handle(), "SELECT COALESCE(SUM(cost), 0) FROM calls WHERE at >= ?");
    if (!sum.with(since).next()) {
      return false;
    }
    const NanoDollars spent = sum.number(0);
    if (least_of(call) > *cap - spent && refused.empty()) {
      refused = cap_text(which, *cap, spent, call);
    }
    granted = std::min(granted, *cap - spent);
    return true;
  };
  if (!over("day", caps.day, day_start(call.at)) ||
      !over("month", caps.month, month_start(call.at))) {
    return database_->error();
  }
  return refused;
}

Result<std::string> Ledger::refusal(const PlannedCall& call, const BudgetCaps& caps) {
  NanoDollars granted = 0;
  std::string refused = refusal_by_itself(call, caps, granted);
  if (refused.empty()) {
    RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
      ASSIGN_OR_RETURN(refused, refusal_by_sums(call, caps, granted));
      return {};
    }));
  }
  return refused;
}

Result<Reservation> Ledger::reserve(const PlannedCall& call, const BudgetCaps& caps) {
  Reservation reservation;
  reservation.refused = refusal_by_itself(call, caps, reservation.granted);
  if (!reservation.refused.empty()) {
    return reservation;
  }
  const auto enter = [&]() -> Result<void> {
    if (const Result<int64_t> booked = book_abandoned(call.at, false); !booked) {
      return booked.error();
    }
    ASSIGN_OR_RETURN(reservation.refused, refusal_by_sums(call, caps, reservation.granted));
    if (!reservation.refused.empty()) {
      return {};
    }
    Statement insert(database_->handle(),
                     "INSERT INTO calls(at, provider, model, reason, cost, process, prompt_tokens, "
                     "likely) VALUES(?,?,?,?,?,?,?,?)");
    insert.with(call.at).with(call.provider).with(call.model).with(call.reason);
    insert.with(call.worst ? std::optional(reservation.granted) : std::nullopt);
    insert.with(process_mark()).with(call.likely_prompt_tokens).with(call.likely);
    insert.next();
    if (!insert.good()) {
      return database_->error();
    }
    reservation.id = database_->last_id();
    return {};
  };
  RETURN_IF_ERROR(database_->alone(enter));
  return reservation;
}

Result<void> Ledger::settle(int64_t id, const SettledCall& call) {
  return database_->alone([&]() -> Result<void> {
    Statement update(database_->handle(),
                     "UPDATE calls SET settled=?, prompt_tokens=?, completion_tokens=?, "
                     "estimated=?, cost=?, latency_ms=?, first_token_ms=?, request_id=?, error=?, "
                     "cached_tokens=?, upper_bound=? WHERE id=? AND settled<>1");
    update.with(kSettled);
    update.with(call.prompt_tokens).with(call.completion_tokens).with(int64_t{call.estimated});
    update.with(call.cost).with(call.latency_ms).with(call.first_token_ms);
    update.with(call.request_id).with(call.error);
    update.with(call.cached_tokens).with(int64_t{call.cost_is_upper_bound}).with(id);
    update.next();
    if (!update.good()) {
      return database_->error();
    }
    return {};
  });
}

Result<std::vector<LedgerSum>> Ledger::sums(int64_t since, LedgerGroup group) {
  const char* by = group == LedgerGroup::kProvider ? "provider"
                   : group == LedgerGroup::kModel  ? "provider || ' ' || model"
                   : group == LedgerGroup::kDay    ? "date(at / 1000, 'unixepoch')"
                                                   : "'all'";
  std::vector<LedgerSum> sums;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    Statement rows(database_->handle(),
                   std::string("SELECT ") + by +
                       " AS g, COUNT(*), SUM(error <> ''), SUM(settled = 0), SUM(cost IS NULL), "
                       "SUM(estimated), SUM(prompt_tokens), SUM(completion_tokens), SUM(cost), "
                       "AVG(CASE WHEN first_token_ms > 0 THEN first_token_ms END), "
                       "SUM(cached_tokens), SUM(upper_bound) "
                       "FROM calls WHERE at >= ? GROUP BY g ORDER BY g");
    rows.with(since);
    while (rows.next()) {
      sums.push_back({rows.text(0), rows.number(1), rows.number(2), rows.number(3), rows.number(4),
                      rows.number(5), rows.number(6), rows.number(7), rows.number(8),
                      rows.number(9), rows.number(10), rows.number(11)});
    }
    if (!rows.good()) {
      return database_->error();
    }
    return {};
  }));
  return sums;
}

Result<BreakerState> Ledger::breaker(const std::string& address, const std::string& model) {
  BreakerState state;
  Statement row(database_->handle(),
                "SELECT failures, open_until, probe_since, recent FROM server_breakers WHERE "
                "address=? AND model=?");
  if (row.with(address).with(model).next()) {
    state = breaker_at(row, 0);
  }
  if (!row.good()) {
    return database_->error();
  }
  return state;
}

Result<void> Ledger::change_breaker(const std::string& address, const std::string& model,
                                    const std::function<void(BreakerState&)>& change) {
  return database_->alone([&]() -> Result<void> {
    ASSIGN_OR_RETURN(BreakerState state, breaker(address, model));
    change(state);
    Statement write(database_->handle(),
                    "INSERT OR REPLACE INTO server_breakers VALUES(?,?,?,?,?,?)");
    write.with(address).with(model).with(int64_t{state.failures}).with(state.open_until);
    write.with(state.probe_since).with(text_of(state.recent)).next();
    if (!write.good()) {
      return database_->error();
    }
    return {};
  });
}

Result<std::vector<BreakerRow>> Ledger::breakers() {
  std::vector<BreakerRow> found;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    Statement rows(database_->handle(),
                   "SELECT address, model, failures, open_until, probe_since, recent FROM "
                   "server_breakers ORDER BY address, model");
    while (rows.next()) {
      found.push_back({rows.text(0), rows.text(1), breaker_at(rows, 2)});
    }
    if (!rows.good()) {
      return database_->error();
    }
    return {};
  }));
  return found;
}

Result<int64_t> Ledger::exhausted_until(const std::string& address, int64_t now) {
  int64_t until = 0;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    // What was noted in a time that has not come yet was noted by a clock that has been corrected
    // since.
    Statement row(database_->handle(),
                  "SELECT until FROM server_quotas WHERE address=? AND noted<=?");
    if (row.with(address).with(now + kClockTolerance).next()) {
      until = row.number(0);
    }
    if (!row.good()) {
      return database_->error();
    }
    return {};
  }));
  return until;
}

Result<void> Ledger::set_exhausted(const std::string& address, int64_t until, int64_t now) {
  return database_->alone([&]() -> Result<void> {
    Statement write(database_->handle(), "INSERT OR REPLACE INTO server_quotas VALUES(?,?,?)");
    write.with(address).with(until).with(now).next();
    if (!write.good()) {
      return database_->error();
    }
    return {};
  });
}

Result<std::vector<std::string>> Ledger::refused_fields(const std::string& address, int64_t now) {
  constexpr int64_t kRemembered = 7 * int64_t{86'400'000};  // servers are updated
  std::vector<std::string> fields;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    Statement rows(database_->handle(),
                   "SELECT field FROM server_refusals WHERE address=? AND noted>? AND noted<=?");
    rows.with(address).with(now - kRemembered).with(now + kClockTolerance);
    while (rows.next()) {
      fields.push_back(rows.text(0));
    }
    if (!rows.good()) {
      return database_->error();
    }
    return {};
  }));
  return fields;
}

Result<void> Ledger::note_refused_field(const std::string& address, const std::string& field,
                                        int64_t now) {
  return database_->alone([&]() -> Result<void> {
    Statement write(database_->handle(), "INSERT OR REPLACE INTO server_refusals VALUES(?,?,?)");
    write.with(address).with(field).with(now).next();
    if (!write.good()) {
      return database_->error();
    }
    return {};
  });
}

Result<void> Ledger::forget(const std::string& address) {
  return database_->alone([&]() -> Result<void> {
    for (const char* table : {"server_breakers", "server_quotas", "server_refusals"}) {
      Statement remove(database_->handle(),
                       std::string("DELETE FROM ") + table + " WHERE ?1='' OR address=?1");
      remove.with(address).next();
      if (!remove.good()) {
        return database_->error();
      }
    }
    return {};
  });
}

Result<std::optional<Speed>> Ledger::speed(const std::string& model) {
  std::optional<Speed> speed;
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    Statement row(database_->handle(), "SELECT prompt, generation FROM speeds WHERE model=?");
    if (row.with(model).next()) {
      speed = Speed{row.real(0), row.real(1)};
    }
    if (!row.good()) {
      return database_->error();
    }
    return {};
  }));
  return speed;
}

// The latest measurement counts half: machines are busy at times, and get faster.
Result<void> Ledger::note_speed(const std::string& model, const Speed& measured) {
  return database_->alone([&]() -> Result<void> {
    Statement write(database_->handle(),
                    "INSERT INTO speeds VALUES(?1,?2,?3) ON CONFLICT(model) DO UPDATE SET "
                    "prompt=(prompt+?2)/2, generation=(generation+?3)/2");
    write.with(model).with(measured.prompt).with(measured.generation).next();
    if (!write.good()) {
      return database_->error();
    }
    return {};
  });
}

}  // namespace tern
