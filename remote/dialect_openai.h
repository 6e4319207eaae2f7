#pragma once
// The bodies of requests as OpenAI's API and its many relatives take them, and the small answers; chat_answer.h reads the large ones.

#include <string>
#include <string_view>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/result.h"
#include "remote/provider.h"

namespace tern {

struct ChatBody {
  std::string json;
  std::vector<std::string> left_out;  // settings that this provider does not take
  std::vector<std::string> fields;    // of ours that may be left out if the server refuses them
};

// Of the sampling, values that differ from SamplingParams' defaults are sent, the non-standard ones
// only to providers that take them. `extra_body` is the provider's own addition; `extra` of the
// request and of its messages overrides what else would be sent. A prompt without messages goes as
// the one message of a user. Errors: `extra` is no JSON object, or asks for several answers at
// once.
Result<ChatBody> write_chat_request(const Request& request, const std::string& model,
                                    const ProviderQuirks& quirks, bool stream,
                                    const std::string& extra_body = {});

std::string write_embeddings_request(const std::vector<std::string>& texts,
                                     const std::string& model);

struct RemoteModel {
  std::string id;
  std::string owner;
  int64_t context = 0;  // tokens; 0: the server does not say
};

Result<std::vector<RemoteModel>> read_models(std::string_view body);

struct Embeddings {
  std::vector<std::vector<float>> vectors;  // one a text, in their order
  std::string model;
  Usage usage;
};

// Errors: not `count` vectors, or not all of one length.
Result<Embeddings> read_embeddings(std::string_view body, size_t count);

// Changes `quirks` so that the next request leaves out what the server's words refuse because it
// does not know it; false: they name nothing of `sent` that can be left out. A value that is
// refused is the caller's to change.
bool learn_quirk(std::string_view words, std::string_view param, const ChatBody& sent,
                 ProviderQuirks& quirks);

// What tokens of a text of that many bytes come to, where nobody has counted them: one for four bytes.
int32_t estimated_tokens(size_t bytes);

}  // namespace tern
