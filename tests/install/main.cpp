// Uses the installed libraries and headers as another project would: opens the model file named on the command line.

#include <cstdio>

#include "engine/io/tensor_file.h"
#include "engine/session/session.h"
#include "remote/curl_transport.h"

int main(int argc, char** argv) {
  const auto file = tern::TensorFile::open(argc > 1 ? argv[1] : "no-such-model.gguf");
  std::printf("%s\n", file ? "opened" : file.error().message.c_str());
  // Nothing listens at port 0.
  const auto outcome = tern::CurlTransport("consumer").exchange({.url = "http://127.0.0.1:0/"}, {});
  return outcome.failure == tern::HttpFailure::kConnect ? 0 : 1;
}
