#include "remote/curl_transport.h"

#include <curl/curl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/select.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>

#include "engine/base/check.h"
#include "engine/base/environment.h"
#include "remote/url.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kPollMs = 20;
// A head longer than this is no answer but an attack on memory.
constexpr size_t kMostHeaderBytes = size_t{256} << 10;

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const {
    for (const curl_slist* each = list; each != nullptr; each = each->next) {
      ::explicit_bzero(each->data, std::strlen(each->data));  // one of them holds a key
    }
    curl_slist_free_all(list);
  }
};
using Easy = std::unique_ptr<CURL, FreeEasy>;
using Multi = std::unique_ptr<CURLM, FreeMulti>;
using List = std::unique_ptr<curl_slist, FreeList>;

// "example.org:8080": all that a message may say of an address.
std::string host_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  std::string host;
  for (const CURLUPart part : {CURLUPART_HOST, CURLUPART_PORT}) {
    char* text = nullptr;
    if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
        curl_url_get(parsed.get(), part, &text, 0) == CURLUE_OK) {
      host += (part == CURLUPART_PORT ? ":" : "") + std::string(text);
    }
    curl_free(text);
  }
  return host.empty() ? "the address given" : host;
}

std::string seconds(int32_t ms) {
  std::string text = std::to_string(ms / 1000);
  if (ms % 1000 != 0) {
    text += "." + std::to_string(ms % 1000 / 100);
  }
  return text + " s";
}

// One exchange on its way: what curl's callbacks write and the loop reads.
struct Flight {
  const HttpRequest* request;
  const Transport::BodySink* sink;
  CURL* easy;
  HttpResponse response;
  size_t header_bytes = 0;
  bool body_began = false;
  bool stopped_by_sink = false;
  bool answered = false;  // a first byte came
  Clock::time_point last_byte;
  uint64_t uploaded = 0;  // bytes of the body that have left this machine
  bool sent = false;      // all of them
};

size_t on_header(char* data, size_t, size_t count, void* user) {
  Flight& flight = *static_cast<Flight*>(user);
  const std::string_view line(data, count);
  flight.answered = true;
  flight.last_byte = Clock::now();
  flight.header_bytes += count;
  if (flight.header_bytes > kMostHeaderBytes) {
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // another head: after a redirect, or after 100 Continue
    flight.response.headers.clear();
    return count;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || flight.body_began) {  // trailers are of no use to us
    return count;
  }
  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  value = value.substr(0, value.find_last_not_of(" \t\r\n") + 1);
  flight.response.headers.emplace_back(line.substr(0, colon), value);
  return count;
}

int32_t status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int32_t>(status);
}

size_t on_body(char* data, size_t, size_t count, void* user) {
  Flight& flight = *static_cast<Flight*>(user);
  if (!flight.body_began) {
    flight.body_began = true;
    flight.response.status = status_of(flight.easy);
  }
  const bool go_on =
      !*flight.sink || (*flight.sink)(flight.response, std::string_view(data, count));
  flight.last_byte = Clock::now();  // the sink's own time is not the server's silence
  flight.stopped_by_sink = !go_on;
  return go_on ? count : CURL_WRITEFUNC_ERROR;
}

HttpFailure kind_of(CURLcode code, const Flight& flight) {
  curl_off_t sent = 0;  // when the request went out; 0: it has not
  curl_easy_getinfo(flight.easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
  switch (code) {
    case CURLE_OK:
      return HttpFailure::kNone;
    case CURLE_UNSUPPORTED_PROTOCOL:
      // An answer that does not begin as HTTP counts as another protocol too.
      return sent != 0 && !flight.answered ? HttpFailure::kBroken : HttpFailure::kRequest;
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_LOGIN_DENIED:
      return HttpFailure::kRequest;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return HttpFailure::kResolve;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_OPERATION_TIMEDOUT:  // only the limit for connecting is left to curl
      return HttpFailure::kConnect;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
      return HttpFailure::kTls;
    default:
      // What broke before the request went out is a failure to connect: a proxy's refusal, for one.
      return sent == 0 ? HttpFailure::kConnect : HttpFailure::kBroken;
  }
}

// Whether a server can have the whole request.
bool was_sent(const Flight& flight) {
  curl_off_t bytes = 0;
  curl_easy_getinfo(flight.easy, CURLINFO_SIZE_UPLOAD_T, &bytes);
  curl_off_t began = 0;
  curl_easy_getinfo(flight.easy, CURLINFO_PRETRANSFER_TIME_T, &began);
  return flight.answered ||
         (began != 0 && static_cast<size_t>(bytes) >= flight.request->body.size());
}

std::string advice_on_connection(CURLcode code, const HttpRequest& request) {
  if (code == CURLE_PROXY || code == CURLE_COULDNT_RESOLVE_PROXY) {
    return "is the proxy right that HTTPS_PROXY or http_proxy names?";
  }
  return is_loopback_url(request.url) ? "does a server run on this machine, at this port?"
                                      : "are name and port of the base URL right, and is the "
                                        "server up? A proxy is named in HTTPS_PROXY.";
}

// CURL_CA_BUNDLE comes before SSL_CERT_FILE, so that advice on the second would be lost on whoever
// has set the first.
std::string advice_on_authorities() {
  if (!environment("CURL_CA_BUNDLE").empty()) {
    return "The authorities come from the file that CURL_CA_BUNDLE names: an authority of your own "
           "goes into it.";
  }
  return "An authority of your own goes into a file named by SSL_CERT_FILE" +
         std::string(environment("SSL_CERT_FILE").empty() ? "." : ", as it is now.");
}

std::string explain(HttpFailure kind, CURLcode code, const char* detail,
                    const HttpRequest& request) {
  const std::string reason = curl_easy_strerror(code);
  switch (kind) {
    case HttpFailure::kResolve:
      return "this name cannot be found; is there a network, and a proxy to name in HTTPS_PROXY?";
    case HttpFailure::kConnect:
      return code == CURLE_OPERATION_TIMEDOUT
                 ? "no connection within " + seconds(request.connect_timeout_ms) +
                       "; is the address right, and a network there?"
                 : "no connection: " + reason + "; " + advice_on_connection(code, request);
    case HttpFailure::kTls:
      // curl's own words on a certificate hold no address.
      return std::string("no trusted connection: ") + (*detail != '\0' ? detail : reason.c_str()) +
             ". " + advice_on_authorities();
    case HttpFailure::kRequest:
      return code == CURLE_UNSUPPORTED_PROTOCOL
                 ? "expected an https address, or a redirect to one; found another kind."
                 : reason + ".";
    default:
      return "the connection broke off: " + reason + ".";
  }
}

void trust_authorities(CURL* easy) {
  // Set although they are the defaults: whoever changes them must do it here.
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  const std::string bundle = environment("CURL_CA_BUNDLE");
  if (const std::string file = bundle.empty() ? environment("SSL_CERT_FILE") : bundle;
      !file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, file.c_str());
  }
  if (const std::string folder = environment("SSL_CERT_DIR"); !folder.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAPATH, folder.c_str());
  }
}

void set_method(CURL* easy, const HttpRequest& request) {
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

void set_redirects(CURL* easy, const HttpRequest& request) {
  const bool https = request.url.starts_with("https://");
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  if (request.max_redirects > 0 && (request.method == "GET" || request.method == "HEAD")) {
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, long{request.max_redirects});
    curl_easy_setopt(easy, CURLOPT_UNRESTRICTED_AUTH, 0L);
  }
}

List header_list(const HttpRequest& request) {
  // No Expect: a server that does not know 100 Continue would cost a second.
  List list(curl_slist_append(nullptr, "Expect:"));
  for (const auto& [name, value] : request.headers) {
    curl_slist* longer = curl_slist_append(list.get(), (name + ": " + value).c_str());
    TERN_CHECK(longer != nullptr, "out of memory");
    static_cast<void>(list.release());
    list.reset(longer);
  }
  return list;
}

// A line break in a header would smuggle in another one.
bool is_clean(const HttpHeaders& headers) {
  return std::ranges::none_of(headers, [](const auto& header) {
    return (header.first + header.second).find_first_of(std::string_view("\r\n\0", 3)) !=
           std::string::npos;
  });
}

// The socket of the one transfer in `multi`; -1: it has none yet. (CURLINFO_ACTIVESOCKET names it
// only when the transfer is over.)
int socket_of(CURLM* multi) {
  fd_set reads;
  fd_set writes;
  fd_set errors;
  FD_ZERO(&reads);
  FD_ZERO(&writes);
  FD_ZERO(&errors);
  int last = -1;
  if (curl_multi_fdset(multi, &reads, &writes, &errors, &last) != CURLM_OK) {
    return -1;
  }
  for (int fd = 0; fd <= last; ++fd) {
    if (FD_ISSET(fd, &reads) || FD_ISSET(fd, &writes)) {
      return fd;
    }
  }
  return -1;
}

// Bytes that the system holds for the connection, not yet acknowledged by the other side.
uint64_t bytes_in_socket(CURLM* multi) {
  const int socket = socket_of(multi);
  int waiting = 0;
  const bool known = socket >= 0 && ioctl(socket, SIOCOUTQ, &waiting) == 0;
  return known && waiting > 0 ? static_cast<uint64_t>(waiting) : 0;
}

// Watches the upload: what curl has handed to the system is not sent yet.
void note_upload(CURLM* multi, Flight& flight, Clock::time_point now) {
  if (flight.sent || flight.answered) {
    return;
  }
  curl_off_t began = 0;  // when the request began to go out; 0: it has not
  curl_off_t given = 0;
  curl_easy_getinfo(flight.easy, CURLINFO_PRETRANSFER_TIME_T, &began);
  curl_easy_getinfo(flight.easy, CURLINFO_SIZE_UPLOAD_T, &given);
  if (began == 0) {
    flight.last_byte = now;
    return;
  }
  const uint64_t held = bytes_in_socket(multi);
  const auto taken = static_cast<uint64_t>(std::max<curl_off_t>(given, 0));
  const uint64_t left = taken - std::min(taken, held);
  if (left > flight.uploaded) {
    flight.uploaded = left;
    flight.last_byte = now;
  }
  if (taken >= flight.request->body.size() && held == 0) {
    flight.sent = true;
    flight.last_byte = now;
  }
}

// How long the answer's first byte may take once the request is out. A server reads before it
// writes, and one that reads slower than 10 kB/s (2,500 tokens/s) is slower than those that people
// pay for.
int32_t first_byte_limit(const HttpRequest& request) {
  constexpr size_t kBytesASecond = 10'000;
  constexpr int64_t kMost = 24 * 3'600'000;
  const auto more = static_cast<int64_t>(request.body.size() / kBytesASecond) * 1000;
  return request.first_byte_timeout_ms == 0
             ? 0
             : static_cast<int32_t>(std::min(request.first_byte_timeout_ms + more, kMost));
}

struct Ended {
  HttpFailure failure = HttpFailure::kNone;
  std::string message = {};
  HttpLimit limit = HttpLimit::kNone;
  bool refused = false;
};

// What has run out at `now`; no failure: nothing has.
Ended overdue(const Flight& flight, Clock::time_point started, Clock::time_point now) {
  const HttpRequest& request = *flight.request;
  const auto over = [now](int32_t limit, Clock::time_point since) {
    return limit > 0 && now - since >= milliseconds(limit);
  };
  const auto late = [](std::string words, HttpLimit limit) {
    return Ended{HttpFailure::kTimeout, std::move(words), limit};
  };
  if (over(request.total_timeout_ms, started)) {
    return late("not finished within " + seconds(request.total_timeout_ms) + ".",
                HttpLimit::kTotal);
  }
  const int32_t first = first_byte_limit(request);
  if (flight.sent && !flight.answered && over(first, flight.last_byte)) {
    const bool grown = first != request.first_byte_timeout_ms;
    return late("no answer within " + seconds(first) + " of the request's end" +
                    (grown ? " (" + seconds(request.first_byte_timeout_ms) +
                                 ", and more for a long prompt)."
                           : "."),
                HttpLimit::kFirstByte);
  }
  if (!flight.sent && !flight.answered && over(request.idle_timeout_ms, flight.last_byte)) {
    return late("nothing of the request could be sent for " + seconds(request.idle_timeout_ms) +
                    ", after " + std::to_string(flight.uploaded) + " of " +
                    std::to_string(request.body.size()) + " bytes.",
                HttpLimit::kIdle);
  }
  if (flight.answered && over(request.idle_timeout_ms, flight.last_byte)) {
    return late("silent for " + seconds(request.idle_timeout_ms) + " in the middle of its answer.",
                HttpLimit::kIdle);
  }
  return {};
}

// Drives the one transfer in `multi` to its end.
Ended drive(CURLM* multi, Flight& flight, const char* detail) {
  const Clock::time_point started = Clock::now();
  flight.last_byte = started;
  for (;;) {
    int running = 0;
    curl_multi_perform(multi, &running);
    int queued = 0;
    if (const CURLMsg* message = curl_multi_info_read(multi, &queued)) {
      const CURLcode code = message->data.result;
      if (code == CURLE_OK || flight.stopped_by_sink) {
        return {};
      }
      const HttpFailure kind = kind_of(code, flight);
      const bool late = code == CURLE_OPERATION_TIMEDOUT;
      return {kind, explain(kind, code, detail, *flight.request),
              late ? HttpLimit::kConnect : HttpLimit::kNone, code == CURLE_COULDNT_CONNECT};
    }
    if (flight.request->cancelled && flight.request->cancelled()) {
      return {HttpFailure::kCancelled, "cancelled."};
    }
    const Clock::time_point now = Clock::now();
    note_upload(multi, flight, now);
    if (Ended late = overdue(flight, started, now); late.failure != HttpFailure::kNone) {
      return late;
    }
    curl_multi_poll(multi, nullptr, 0, kPollMs, nullptr);
  }
}

}  // namespace

// A multi handle holds open connections and serves one thread at a time.
class CurlTransport::Pool {
 public:
  Multi take() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) {
      return Multi(curl_multi_init());
    }
    Multi multi = std::move(idle_.back());
    idle_.pop_back();
    return multi;
  }
  void give(Multi multi) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(multi));
  }

 private:
  std::mutex mutex_;
  std::vector<Multi> idle_;
};

CurlTransport::CurlTransport(std::string user_agent)
    : pool_(std::make_unique<Pool>()), user_agent_(std::move(user_agent)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

CurlTransport::~CurlTransport() = default;

HttpOutcome CurlTransport::exchange(const HttpRequest& request, const BodySink& sink) {
  const std::string host = host_of(request.url);
  if (!is_clean(request.headers)) {
    return {{}, HttpFailure::kRequest, host + ": a header of the request holds a line break."};
  }
  Multi multi = pool_->take();
  const Easy easy(curl_easy_init());
  TERN_CHECK(multi && easy, "out of memory");
  const List headers = header_list(request);
  char detail[CURL_ERROR_SIZE] = "";
  Flight flight{&request, &sink, easy.get(), {}, 0, false, false, false, {}, 0, false};
  curl_easy_setopt(easy.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_USERAGENT, user_agent_.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS});
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  // curl takes 0 for its own limit of five minutes: the largest number stands for none.
  curl_easy_setopt(easy.get(), CURLOPT_CONNECTTIMEOUT_MS,
                   long{request.connect_timeout_ms > 0 ? request.connect_timeout_ms : INT32_MAX});
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(easy.get(), CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy.get(), CURLOPT_HEADERDATA, &flight);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &flight);
  set_method(easy.get(), request);
  set_redirects(easy.get(), request);
  if (!request.accept_encoding.empty()) {
    curl_easy_setopt(easy.get(), CURLOPT_ACCEPT_ENCODING, request.accept_encoding.c_str());
  }
  if (is_loopback_url(request.url)) {
    // A proxy would be sent what is not to leave the machine, in clear text.
    curl_easy_setopt(easy.get(), CURLOPT_NOPROXY, "*");
  }
  trust_authorities(easy.get());
  curl_multi_add_handle(multi.get(), easy.get());
  Ended ended = drive(multi.get(), flight, detail);
  flight.response.status = status_of(easy.get());
  const bool sent = was_sent(flight);
  // Removing a transfer that has not ended closes its connection.
  curl_multi_remove_handle(multi.get(), easy.get());
  pool_->give(std::move(multi));
  if (ended.failure != HttpFailure::kNone) {
    ended.message = host + ": " + ended.message;
  }
  return {std::move(flight.response),
          ended.failure,
          std::move(ended.message),
          ended.limit,
          ended.refused,
          sent};
}

}  // namespace tern
