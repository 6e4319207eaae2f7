// Uses the installed libraries and headers as another project would: opens the model file named on the command line.

#include <cstdio>

#include "engine/io/tensor_file.h"
#include "engine/session/session.h"
#include "remote/transport.h"

namespace {

class NoNetwork final : public tern::Transport {
 public:
  tern::Result<tern::HttpResponse> exchange(const tern::HttpRequest& request,
                                            const BodySink&) override {
    return tern::Error{request.url + ": no network here"};
  }
};

}  // namespace

int main(int argc, char** argv) {
  const auto file = tern::TensorFile::open(argc > 1 ? argv[1] : "no-such-model.gguf");
  std::printf("%s\n", file ? "opened" : file.error().message.c_str());
  NoNetwork network;
  return network.exchange({.url = "https://example.org"}, {}) ? 1 : 0;
}
