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
import unittest

TERN, GOLDEN = "", ""


def tern(*arguments, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
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


if __name__ == "__main__":
    TERN, GOLDEN = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
