"""A server on 127.0.0.1 with OpenAI's API, that misbehaves as a test tells it and counts what it did.

Each chat request takes the next entry of `plays` (the last one stays): a dict with
  text      what is answered, a word a chunk; `empty`: nothing is
  status    answered instead, with `body` (a dict or a string) and `headers`
  cut       after so many chunks the connection is closed
  delay     seconds before the first byte; `pace`: seconds between chunks
  usage     False: no usage chunk; a dict: this one
  deltas    what a stream carries before the text: a list of deltas; `events`: whole chunks before the end
`fault(n)`, if set, gives the play of the n-th chat request instead.
"""

import http.server
import json
import threading
import time


def chunk(delta, finish=None, **more):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": more.pop("model", "m"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Api:
    def __init__(self, key=None):
        self.key = key
        self.plays = [{"text": "hello from the server"}]
        self.fault = None
        self.models = ["deepseek-v3.2", "gpt-4.1"]
        self.connections = 0
        self.chats = []  # the bodies of chat requests
        self.closed = 0  # streams that the client ended
        self.tokens = [0, 0]  # prompt and completion, of answers that were sent whole
        self.whole = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                with outer.lock:
                    outer.connections += 1

            def handle(self):
                try:
                    super().handle()
                except (ConnectionResetError, BrokenPipeError):
                    pass

            def do_GET(self):
                if not outer._allowed(self):
                    return
                if self.path.endswith("/models") and outer.models is not None:
                    outer._send(self, 200, {"object": "list", "data": [
                        {"id": name, "object": "model", "owned_by": "test"} for name in outer.models]})
                elif self.path.endswith("/overview"):
                    outer._send(self, 200, {"balance": 12.5, "todayCost": 0.25, "monthCost": 3, "totalCalls": 42})
                else:
                    outer._send(self, 404, {"error": {"message": "no such path"}})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    number = len(outer.chats)
                    outer.chats.append(body)
                    play = outer.fault(number) if outer.fault else None
                    if play is None:
                        play = outer.plays.pop(0) if len(outer.plays) > 1 else outer.plays[0]
                if self.path.endswith("/embeddings"):
                    if outer._allowed(self):
                        outer._send(self, play["status"], play["body"]) if "status" in play else outer._embed(self, body)
                    return
                if outer._allowed(self):
                    try:
                        outer._chat(self, body, play)
                    except (BrokenPipeError, ConnectionResetError):
                        with outer.lock:
                            outer.closed += 1
                        self.close_connection = True

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.host = "127.0.0.1:%d" % self.server.server_port
        self.url = "http://%s/v1" % self.host

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _allowed(self, handler):
        if self.key is None or handler.headers.get("Authorization") == "Bearer " + self.key:
            return True
        self._send(handler, 401, {"error": "Invalid API key", "message": "The key is invalid"})
        return False

    @staticmethod
    def _send(handler, status, body, headers=()):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("X-Request-ID", "req-%d" % status)
        handler.end_headers()
        handler.wfile.write(data)

    def _embed(self, handler, body):
        """A text's vector is (length, 1, 0), in an order of its own."""
        data = [{"object": "embedding", "index": i, "embedding": [len(text), 1, 0]} for i, text in enumerate(body["input"])]
        tokens = sum(len(text) for text in body["input"])
        self._send(handler, 200, {"object": "list", "model": body["model"], "data": data[::-1],
                                  "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    def _chat(self, handler, body, play):
        time.sleep(play.get("delay", 0))
        if "status" in play:
            self._send(handler, play["status"], play.get("body", {"error": {"message": "no"}}), play.get("headers", {}))
            return
        # Empty: what the client wrote last, so that it can tell whose answer it got.
        text = "" if play.get("empty") else play.get("text") or body["messages"][-1]["content"]
        words = [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]
        prompt = sum(len(message["content"]) for message in body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
        if isinstance(play.get("usage"), dict):
            usage = play["usage"]
        model = body["model"]
        if not body.get("stream"):
            self._send(handler, 200, {"model": model, "usage": usage, "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]})
        else:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("X-Request-ID", "req-stream")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for delta in play.get("deltas", []):
                self._event(handler, chunk(delta, model=model))
            for i, word in enumerate(words):
                if play.get("cut") == i:
                    handler.wfile.flush()
                    handler.close_connection = True
                    handler.connection.close()
                    return
                self._event(handler, chunk({"content": word}, model=model))
                time.sleep(play.get("pace", 0))
            for event in play.get("events", []):
                self._event(handler, {"id": "1", "model": model, **event})
            if "events" not in play:
                self._event(handler, chunk({}, "stop", model=model))
            if play.get("usage", True):
                self._event(handler, {"id": "1", "model": model, "choices": [], "usage": usage})
            self._raw(handler, b"data: [DONE]\n\n")
            handler.wfile.write(b"0\r\n\r\n")
        with self.lock:
            self.whole += 1
            self.tokens[0] += prompt
            self.tokens[1] += len(words)

    def _event(self, handler, value):
        self._raw(handler, b"data: " + json.dumps(value).encode() + b"\n\n")

    @staticmethod
    def _raw(handler, data):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.flush()
