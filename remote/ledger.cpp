#include "remote/ledger.h"

#include <sqlite3.h>

#include <mutex>
#include <sstream>

#include "engine/base/environment.h"
#include "engine/base/output_file.h"

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
)";

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

std::string cap_text(const char* which, NanoDollars cap, NanoDollars spent, NanoDollars worst) {
  return std::string("the budget of ") + dollars_text(cap) + " a " + which +
         " would not hold: " + (spent > 0 ? dollars_text(spent) + " are spent, and " : "") +
         "this call can cost " + dollars_text(worst) + ". A smaller -n lowers that";
}

}  // namespace

// A connection, one user at a time.
class Ledger::Database {
 public:
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close(handle_); }

  Error error() const { return Error{path_ + ": " + sqlite3_errmsg(handle_) + "."}; }

  Result<void> run(const char* sql) {
    if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return error();
    }
    return {};
  }

  // Runs `work` alone: no thread, and no process that writes, comes between.
  Result<void> alone(const std::function<Result<void>()>& work) {
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

BreakerState breaker_at(const Statement& row, int first) {
  return {static_cast<int32_t>(row.number(first)), row.number(first + 1), row.number(first + 2),
          calls_of(row.text(first + 3))};
}

}  // namespace

Ledger::Ledger(std::unique_ptr<Database> database) : database_(std::move(database)) {}
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

Result<Ledger> Ledger::open(const std::filesystem::path& path) {
  if (path.empty()) {
    return Error{"the ledger of remote calls: " + std::string(kNoHomeFolder)};
  }
  RETURN_IF_ERROR(make_private_folders(path.parent_path()));
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
  RETURN_IF_ERROR(tables.alone([&] { return tables.run(kSchema); }));
  return Ledger(std::move(database));
}

// What a cap says without looking at what is spent; empty: nothing.
static std::string refusal_by_itself(const PlannedCall& call, const BudgetCaps& caps) {
  if (caps.any() && !call.worst && !caps.allow_unknown_prices) {
    return "what " + call.model +
           " can cost is not known, and there is a budget: enter its price and "
           "context in providers.json, or allow it with --allow-unknown-price";
  }
  const NanoDollars worst = call.worst.value_or(0);
  return caps.call && worst > *caps.call ? cap_text("call", *caps.call, 0, worst) : std::string();
}

Result<std::string> Ledger::refusal_by_sums(const PlannedCall& call, const BudgetCaps& caps) {
  const NanoDollars worst = call.worst.value_or(0);
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
    if (spent + worst > *cap && refused.empty()) {
      refused = cap_text(which, *cap, spent, worst);
    }
    return true;
  };
  if (!over("day", caps.day, day_start(call.at)) ||
      !over("month", caps.month, month_start(call.at))) {
    return database_->error();
  }
  return refused;
}

Result<std::string> Ledger::refusal(const PlannedCall& call, const BudgetCaps& caps) {
  std::string refused = refusal_by_itself(call, caps);
  if (refused.empty()) {
    RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
      ASSIGN_OR_RETURN(refused, refusal_by_sums(call, caps));
      return {};
    }));
  }
  return refused;
}

Result<Reservation> Ledger::reserve(const PlannedCall& call, const BudgetCaps& caps) {
  Reservation reservation;
  reservation.refused = refusal_by_itself(call, caps);
  if (!reservation.refused.empty()) {
    return reservation;
  }
  RETURN_IF_ERROR(database_->alone([&]() -> Result<void> {
    ASSIGN_OR_RETURN(reservation.refused, refusal_by_sums(call, caps));
    if (!reservation.refused.empty()) {
      return {};
    }
    Statement insert(database_->handle(),
                     "INSERT INTO calls(at, provider, model, reason, cost) VALUES(?,?,?,?,?)");
    insert.with(call.at).with(call.provider).with(call.model).with(call.reason).with(call.worst);
    insert.next();
    if (!insert.good()) {
      return database_->error();
    }
    reservation.id = database_->last_id();
    return {};
  }));
  return reservation;
}

Result<void> Ledger::settle(int64_t id, const SettledCall& call) {
  return database_->alone([&]() -> Result<void> {
    Statement update(database_->handle(),
                     "UPDATE calls SET settled=1, prompt_tokens=?, completion_tokens=?, "
                     "estimated=?, cost=?, latency_ms=?, first_token_ms=?, request_id=?, error=? "
                     "WHERE id=? AND settled=0");
    update.with(call.prompt_tokens).with(call.completion_tokens).with(int64_t{call.estimated});
    update.with(call.cost).with(call.latency_ms).with(call.first_token_ms);
    update.with(call.request_id).with(call.error).with(id);
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
                       "AVG(CASE WHEN first_token_ms > 0 THEN first_token_ms END) "
                       "FROM calls WHERE at >= ? GROUP BY g ORDER BY g");
    rows.with(since);
    while (rows.next()) {
      sums.push_back({rows.text(0), rows.number(1), rows.number(2), rows.number(3), rows.number(4),
                      rows.number(5), rows.number(6), rows.number(7), rows.number(8),
                      rows.number(9)});
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
