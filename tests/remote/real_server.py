#!/usr/bin/env python3
"""The API client against llama.cpp's server, which the package xllamacpp from PyPI brings ready built.

usage: tests/remote/real_server.py REMOTE_TEST       runs the tests
       tests/remote/real_server.py --record FOLDER  writes what the server sends, for tests/golden/remote

Makes a virtual environment in build/real_server once, starts the server in it over a tiny model of tests/golden, asks it
without Tern for what it says, and runs the cases RealServer.* of the program REMOTE_TEST (build/dev/tests/remote_test), which must hear
the same. Exit code 0 after a message where the package cannot be installed.
"""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

PACKAGE = "xllamacpp==2026.10.11549"
ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-of-the-test"

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"tiny"}
params.hostnames = ["127.0.0.1"]
params.port = 0
params.api_keys = [sys.argv[2]]
params.n_ctx = 256
params.n_parallel = 1
params.cpuparams.n_threads = 1
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print("AT", server.listening_address, flush=True)
sys.stdin.read()  # until the one who started it goes
"""


def python_with_server(folder):
    """The interpreter of an environment that has the package; None where it cannot be installed."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", PACKAGE]
    return python if subprocess.run(install).returncode == 0 else None


def fetch(url, path, body=None):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers)) as answer:
        return answer.read()


def ask(url, path, body=None):
    return json.loads(fetch(url, path, body))


def record(url, question, folder):
    """One answer of the server's, streamed and plain."""
    (folder / "llama_server_plain.json").write_bytes(fetch(url, "/v1/chat/completions", question))
    streamed = {**question, "stream": True, "stream_options": {"include_usage": True}}
    (folder / "llama_server_stream.txt").write_bytes(fetch(url, "/v1/chat/completions", streamed))


def main():
    recording = len(sys.argv) == 3 and sys.argv[1] == "--record"
    if len(sys.argv) != 2 and not recording:
        sys.exit(__doc__)
    python = python_with_server(ROOT / "build/real_server")
    if python is None:
        print(f"skipped: {PACKAGE} cannot be installed")
        return
    model = ROOT / "tests/golden/models/llama-f16.gguf"
    server = subprocess.Popen([python, "-c", SERVE, model, KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        line = next((line for line in server.stdout if line.startswith("AT ")), None)
        if line is None:
            sys.exit("real_server.py: the server did not start")
        url = line.split()[1]
        name = ask(url, "/v1/models")["data"][0]["id"]
        question = {"model": name, "messages": [{"role": "user", "content": "Once upon a time"}], "temperature": 0,
                    "max_tokens": 24}
        if recording:
            # Few tokens, the last of which ends a character: half of one is in the plain answer alone.
            record(url, {**question, "max_tokens": 7}, Path(sys.argv[2]))
            return
        said = ask(url, "/v1/chat/completions", question)
        vectors = ask(url, "/v1/embeddings", {"model": name, "input": ["Once upon", "a time"], "encoding_format": "float"})
        truth = {
            "TERN_TEST_API_URL": url + "/v1",
            "TERN_TEST_API_MODEL": name,
            "TERN_TEST_API_TEXT": said["choices"][0]["message"]["content"],
            "TERN_TEST_API_PROMPT_TOKENS": str(said["usage"]["prompt_tokens"]),
            "TERN_TEST_API_COMPLETION_TOKENS": str(said["usage"]["completion_tokens"]),
            "TERN_TEST_API_EMBEDDINGS": json.dumps([entry["embedding"] for entry in vectors["data"]]),
        }
        tests = subprocess.run([sys.argv[1], "--gtest_filter=RealServer.*"], env={**os.environ, **truth},
                               stdout=subprocess.PIPE, text=True)
        print(tests.stdout)
        if "SKIPPED" in tests.stdout or "Running 0 tests" in tests.stdout:
            sys.exit("real_server.py: expected tests to run; some did not")
        sys.exit(tests.returncode)
    finally:
        server.stdin.close()
        server.wait(timeout=20)


if __name__ == "__main__":
    main()
