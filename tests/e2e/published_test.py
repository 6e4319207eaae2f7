#!/usr/bin/env python3
"""Runs the tern program on tiny models that have the keys and names of published files (tests/golden/published).

Usage: published_test.py TERN GOLDEN [unittest arguments]
"""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

import program

TERN, GOLDEN = "", ""


def tern(*arguments, **options):
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    done = subprocess.run([TERN, *arguments], capture_output=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done


def distance(a, b):
    assert len(a) == len(b)
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))


class BitnetEmbedding(unittest.TestCase):
    """`tern embed` against transformers: what the file says by default, other poolings when asked."""

    # What is found is 1e-7, or 1e-3 where a value lies between two steps of int8 and the order of sums decides. Vectors without
    # int8 steps are 0.005 to 0.02 away.
    MOST = 5e-3

    def models(self):
        with open(os.path.join(GOLDEN, "embedding.json")) as file:
            manifest = json.load(file)
        for model in manifest["models"]:
            path = os.path.join(GOLDEN, model["name"])
            with open(path + ".f32", "rb") as file:
                numbers = struct.unpack(f"<{3 * len(manifest['texts']) * model['width']}f", file.read())
            width = model["width"]
            rows = [numbers[i : i + width] for i in range(0, len(numbers), width)]
            truth = {"mean": rows[0::3], "last": rows[1::3], "cls": rows[2::3]}
            yield path + ".gguf", manifest["texts"], model["ids"], truth

    def test_the_files_word_is_taken(self):
        for path, texts, ids, truth in self.models():
            with self.subTest(path):
                done = tern("embed", "-m", path, *texts)
                answer = json.loads(done.stdout)
                for entry, expected, other in zip(answer["data"], truth["mean"], truth["last"]):
                    self.assertLess(distance(entry["embedding"], expected), self.MOST)
                    self.assertGreater(distance(entry["embedding"], other), 0.1)
                self.assertEqual(answer["usage"]["prompt_tokens"], sum(map(len, ids)))  # with what the file adds
                self.assertIn(b"mean pooling", done.stderr)
                # An embedding model predicts no text: nothing is concluded from how it does.
                self.assertNotIn(b"I2_S weights read", done.stderr)
                self.assertEqual(b"no key speaks of windows" in done.stderr, "270m" in path)

    def test_other_poolings(self):
        for path, texts, _, truth in self.models():
            for pooling, expected in truth.items():
                with self.subTest(f"{path} {pooling}"):
                    done = tern("embed", "-m", path, "--pooling", pooling, "--output", "f32", *texts)
                    numbers = struct.unpack(f"<{len(done.stdout) // 4}f", done.stdout)
                    width = len(expected[0])
                    self.assertEqual(len(numbers), width * len(texts))
                    for i, vector in enumerate(expected):
                        self.assertLess(distance(numbers[i * width : (i + 1) * width], vector), self.MOST)
                    self.assertNotIn(b"mean pooling", done.stderr)


class Falcon3(unittest.TestCase):
    """One model as a folder and as a GGUF file, against transformers' reading of the folder."""

    def setUp(self):
        with open(os.path.join(GOLDEN, "falcon3.json")) as file:
            self.truth = json.load(file)
        self.paths = [os.path.join(GOLDEN, name) for name in ("falcon3", "falcon3.gguf")]

    def test_logits(self):
        with open(os.path.join(GOLDEN, "falcon3.f32"), "rb") as file:
            data = file.read()
        truth = struct.unpack(f"<{len(data) // 4}f", data)
        for path in self.paths:
            with self.subTest(path), tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "logits")
                tern("logits", "-m", path, "--tokens", ",".join(map(str, self.truth["tokens"])), "-o", out)
                with open(out, "rb") as file:
                    found = struct.unpack(f"<{len(data) // 4}f", file.read()[-len(data) :])
                self.assertLess(distance(found, truth) / math.hypot(*truth), 5e-3)

    def test_run_and_chat(self):
        for path in self.paths:
            with self.subTest(path):
                options = ["-m", path, "--temp", "0", "-n", "4"]
                done = tern("run", *options, "--json", "the hen")
                answer = json.loads(done.stdout)
                self.assertEqual(answer["prompt_tokens"], len(self.truth["one_message"]))
                self.assertIn(answer["stop_reason"], ("length", "end of text"))
                self.assertEqual(done.stderr.count(b"note: "), self.notes_on_layout(done))
                chat = tern("chat", *options, input=b"the hen\n/exit\n")
                self.assertIn(answer["text"].encode(), chat.stdout)

    @staticmethod
    def notes_on_layout(done):
        """Random weights predict no text in any byte order, which is said; nothing else is."""
        return done.stderr.count(b"note: I2_S weights read")


if __name__ == "__main__":
    TERN, GOLDEN = sys.argv[1:3]
    program.skip_without_table(TERN)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
