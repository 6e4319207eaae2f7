"""A hub of models on 127.0.0.1 that answers as the public one does, and misbehaves as a test tells it.

Repositories are dicts of path -> bytes. Files in `large` answer with a redirect to another address ("the store"), as the hub
does for its large storage, with X-Linked-Etag being the SHA-256; the others are served from git with its blob names.
"""

import hashlib
import http.server
import json
import threading
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    def __init__(self):
        self.repos = {}  # "owner/name" -> {path: bytes}
        self.info = {}  # more of the repository's description
        self.token = None  # what opens the hub; None: everything does
        self.cuts = []  # bytes after which each of the next answers of the store is cut
        self.stall = False  # the store sends half, then nothing
        self.ranges = True
        self.lengths = True  # HEAD answers say how long the file is
        self.status = {}  # path suffix -> (status, headers): answered instead
        self.wrong = False  # the store sends other bytes
        self.slow = 0.0  # seconds before the store answers
        self.log = []  # (server, method, path, headers)
        self.hub = self._serve("hub")
        self.store = self._serve("store")
        self.url = "http://127.0.0.1:%d" % self.hub.server_port
        # Another name for the same machine: another host.
        self.store_url = "http://localhost:%d" % self.store.server_port

    def _serve(self, name):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except ConnectionResetError:  # the client gave up, as some tests want
                    pass

            def do_GET(self):
                outer.log.append((name, self.command, self.path, dict(self.headers)))
                try:
                    (outer._answer_hub if name == "hub" else outer._answer_store)(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_GET

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self):
        for server in (self.hub, self.store):
            server.shutdown()
            server.server_close()

    def asked(self, server):
        return [entry for entry in self.log if entry[0] == server]

    @staticmethod
    def _send(handler, status, body=b"", headers=()):
        handler.send_response(status)
        for key, value in dict(headers).items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def _answer_hub(self, handler):
        path = handler.path.partition("?")[0]
        for suffix, (status, headers) in self.status.items():
            if path.endswith(suffix):
                return self._send(handler, status, b"", headers)
        if self.token and handler.headers.get("Authorization") != "Bearer " + self.token:
            gated = any(info.get("gated") for info in self.info.values())
            return self._send(handler, 401, b"", {"X-Error-Code": "GatedRepo" if gated else "RepoNotFound"})
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if api else parts[:2])
        files = self.repos.get(repo)
        if files is None:
            return self._send(handler, 404, b"", {"X-Error-Code": "RepoNotFound"})
        if api and parts[4] == "revision":
            info = {"id": repo, "sha": COMMIT, "gated": False, "cardData": {"license": "mit"}}
            return self._send(handler, 200, json.dumps({**info, **self.info.get(repo, {})}).encode())
        if api and parts[4] == "tree":
            return self._tree(handler, repo, files)
        name = "/".join(parts[4:])
        if name not in files:
            return self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[name]
        if name.endswith((".gguf", ".safetensors")):
            headers = {"Location": "%s/%s/%s?signature=secret" % (self.store_url, repo, name),
                       "X-Linked-Etag": '"%s"' % sha256(data)}
            if self.lengths:
                headers["X-Linked-Size"] = str(len(data))
            return self._send(handler, 302, b"", headers)
        return self._send(handler, 200, data, {"ETag": '"%s"' % git_blob(data)})

    def _tree(self, handler, repo, files):
        entries = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0},
                   {"type": "file", "path": "../outside.gguf", "oid": "0" * 40, "size": 1}]
        for name, data in files.items():
            entry = {"type": "file", "path": name, "size": len(data), "oid": git_blob(data)}
            if name.endswith((".gguf", ".safetensors")):
                entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        # Two pages, as for long lists.
        second = "cursor=2" in handler.path
        half = len(entries) // 2
        headers = {} if second else {"Link": '<%s%s&cursor=2>; rel="next"' % (self.url, handler.path)}
        self._send(handler, 200, json.dumps(entries[half:] if second else entries[:half]).encode(), headers)

    def _answer_store(self, handler):
        time.sleep(self.slow)
        _, owner, name, path = handler.path.partition("?")[0].split("/", 3)
        data = self.repos[owner + "/" + name][path]
        if self.wrong:
            data = bytes(len(data))
        begin = 0
        ranged = handler.headers.get("Range") if self.ranges else None
        if ranged:
            begin = int(ranged[len("bytes="):-1])
            if begin >= len(data):
                return self._send(handler, 416, b"", {"Content-Range": "bytes */%d" % len(data)})
        body = data[begin:]
        handler.send_response(206 if ranged else 200)
        if ranged:
            handler.send_header("Content-Range", "bytes %d-%d/%d" % (begin, len(data) - 1, len(data)))
        handler.send_header("ETag", '"store-%s"' % sha256(data)[:8])
        if handler.command != "HEAD" or self.lengths:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "HEAD":
            return None
        if self.stall:
            if begin == 0:  # and nothing more to those who come again
                handler.wfile.write(body[:len(body) // 2])
                handler.wfile.flush()
            time.sleep(20)
        if self.cuts:
            handler.wfile.write(body[:self.cuts.pop(0)])
            handler.close_connection = True
            return None
        handler.wfile.write(body)
        return None
