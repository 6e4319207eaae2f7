#pragma once
// Everything that `tern run`, `chat` and `route` need to ask others: router, ledger, transports and the model of this machine.

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "remote/curl_transport.h"
#include "remote/ledger.h"
#include "remote/remote_completer.h"
#include "remote/router.h"
#include "remote/system_clock.h"
#include "tools/ending.h"
#include "tools/local_engine.h"
#include "tools/remote_options.h"

namespace tern::cli {

class Offload {
 public:
  // Opens no connection and loads no model.
  static Result<std::unique_ptr<Offload>> create(const RemoteSettings& settings,
                                                 const ModelOptions& model, const ModelNames& names,
                                                 const SpeculationFlags& speculation, int context);

  // Streams to `sink`; Ctrl-C ends it. Notices go to stderr.
  ApiOutcome complete(const Request& request, const Completer::Sink& sink,
                      const Completer::Sink& reasoning = {});
  // Who would be asked, and who would be passed over now.
  Result<Route> outlook(const Request& request) const { return router_->outlook(request); }
  // Whether it is this machine that is asked now, or was last.
  bool local_answers() const { return local_answers_; }
  const LocalEngine& local() const { return *local_; }
  Ledger& ledger() { return ledger_; }

 private:
  explicit Offload(Ledger ledger);
  RouterSetup::Backend backend_of(Provider provider, ApiKey key);

  Ledger ledger_;
  SystemClock clock_;
  CurlTransport transport_;
  std::map<std::string, std::unique_ptr<RemoteCompleter>> remotes_;
  std::unique_ptr<LocalEngine> local_;
  std::unique_ptr<Router> router_;
  int64_t deadline_ms_ = 0;
  std::atomic<bool> local_answers_ = false;
};

// With its exit code, and what a script may want to know of it.
Failure failure_of(const ApiError& error);

// "tern/0.1.0", as servers see it.
std::string user_agent();

}  // namespace tern::cli
