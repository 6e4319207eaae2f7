#!/usr/bin/env python3
"""tern synth from outside: its files run, measure and read as they should, and failures leave nothing behind.

    synth_test.py path/to/tern
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

TERN = ""
TYPES = (
    "I2_S", "TQ1_0", "TQ2_0", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q6_K", "MXFP4")
TEXT = "The quick brown fox, 1234 times; gr\u00fc\u00dfe \u4f60\u597d!\n" * 30


def tern(*arguments):
    return subprocess.run([TERN, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tern-synth-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def files(self):
        return sorted(os.listdir(self.folder.name))

    def synth(self, name, *arguments):
        done = tern("synth", "-o", self.path(name), *arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return self.path(name)

    def refused(self, *arguments, expect):
        before = self.files()
        done = tern("synth", *arguments)
        self.assertEqual(done.returncode, 2, done.stderr.decode())
        for words in expect:
            self.assertIn(words, done.stderr.decode())
        self.assertEqual(self.files(), before)


class Models(Case):
    def test_every_type_runs_and_knows_nothing(self):
        with open(self.path("text"), "w") as file:
            file.write(TEXT)
        for kind in TYPES:
            # Rows of 512 and 1280 weights suit every type's blocks.
            model = self.synth("m.gguf", "--shape", "small", "--type", kind.lower(), "--embedding",
                               "f16" if kind in TYPES[:3] else kind, "--force")
            done = tern("perplexity", "-m", model, "-f", self.path("text"), "-c", 64, "--chunks", 2)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            value = float(re.search(rb"perplexity ([\d.]+)", done.stdout)[1])
            # Logits of deviation 1/4 add 1/32 nat to the logarithm of 4096.
            self.assertTrue(0.85 * 4096 < value < 1.25 * 4096, (kind, value))

    def test_every_architecture_loads(self):
        for shape in ("bitnet-0.7b", "bitnet-3b", "trilm-99m", "qwen3-1.7b", "falcon3-1b"):
            model = self.synth("m.gguf", "--shape", shape, "--layers", 1, "--embedding", "q8_0", "--force")
            done = tern("run", "-m", model, "-n", 2, "-c", 64, "one two")
            self.assertEqual(done.returncode, 0, done.stderr.decode())

    def test_a_head_apart(self):
        model = self.synth("m.gguf", "--shape", "small", "--head", "q6_k")
        listing = tern("inspect", model).stdout.decode()
        self.assertIn("Q6_K", listing)
        self.assertEqual(tern("run", "-m", model, "-n", 2, "x").returncode, 0)

    def test_any_text_comes_back(self):
        model = self.synth("m.gguf", "--shape", "small")
        for text in (TEXT, "".join(map(chr, range(1, 400)))):
            done = tern("run", "-m", model, "-n", 0, text)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            self.assertEqual(done.stdout.decode().rstrip("\n"), text.rstrip("\n"))

    def test_the_seed_decides(self):
        def content(name, *arguments):
            with open(self.synth(name, "--shape", "small", *arguments), "rb") as file:
                return file.read()

        first = content("a", "--seed", 5)
        self.assertEqual(first, content("b", "--seed", 5))
        self.assertNotEqual(first, content("c", "--seed", 6))

    def test_memory_is_bounded(self):
        # A file of 200 MB; children so far stayed below it too.
        model = self.synth("m.gguf", "--shape", "bitnet-0.7b", "--layers", 2, "--type", "f16")
        self.assertGreater(os.path.getsize(model), 200 << 20)
        done = subprocess.run([sys.executable, "-c", (
            "import resource, subprocess, sys;"
            "subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        ), TERN, "synth", "--shape", "bitnet-0.7b", "--layers", "2", "--type", "f16", "--force", "-o", model],
            stdout=subprocess.PIPE, check=True)
        kilobytes = int(done.stdout)
        if not program.SANITIZED:
            self.assertLess(kilobytes, 100 << 10)

    def test_python_reads_it(self):
        try:
            import gguf
            import numpy as np
        except ImportError:
            self.skipTest("needs the Python package gguf")
        for kind in TYPES[1:]:  # it does not know I2_S
            model = self.synth("m.gguf", "--shape", "small", "--type", kind, "--force")
            reader = gguf.GGUFReader(model)
            self.assertEqual(reader.fields["general.architecture"].contents(), "bitnet-b1.58")
            self.assertEqual(len(reader.fields["tokenizer.ggml.tokens"].contents()), 4096)
            tensors = {tensor.name: tensor for tensor in reader.tensors}
            self.assertEqual(len(tensors), 2 + 4 * 11)
            down = tensors["blk.3.ffn_down.weight"]
            self.assertEqual(down.tensor_type.name, kind)
            self.assertEqual(list(down.shape), [1280, 512])
            weights = gguf.dequantize(down.data, down.tensor_type)
            self.assertAlmostEqual(float(weights.std()) * 1280**0.5, 1, delta=0.05)
            self.assertLess(abs(float(weights.mean())) * 1280**0.5, 0.02)
            self.assertTrue(np.all(tensors["output_norm.weight"].data == 1))


class Failures(Case):
    def test_bad_arguments(self):
        out = self.path("m.gguf")
        self.refused("--shape", "nonesuch", "-o", out, expect=["--shape", "nonesuch", "falcon3-10b"])
        self.refused("--type", "iq1_bn", "-o", out, expect=["--type", "iq1_bn", "TQ2_0"])
        self.refused("--embedding", "nothing", "-o", out, expect=["--embedding", "nothing"])
        self.refused("--shape", "bitnet-3b", "--type", "tq2_0", "-o", out, expect=["blk.0", "3200", "256"])
        self.refused("--shape", "small", "-o", self.path("no/such/place"), expect=["no/such"])
        self.refused("--shape", "small", "-o", self.folder.name, expect=["directory"])
        self.refused("--shape", "llama3-8b", "--type", "f32", "--layers", "1000", "-o", out, expect=["room", "disk"])

    def test_existing_files_stay(self):
        with open(self.path("mine"), "w") as file:
            file.write("precious")
        self.refused("--shape", "small", "-o", self.path("mine"), expect=["exists", "--force"])
        with open(self.path("mine")) as file:
            self.assertEqual(file.read(), "precious")

    def open_files(self, pid):
        folder = f"/proc/{pid}/fd"
        return [os.path.join(folder, fd) for fd in os.listdir(folder)
                if os.readlink(os.path.join(folder, fd)).startswith(self.folder.name)]

    def test_an_interrupt_leaves_nothing(self):
        child = subprocess.Popen([TERN, "synth", "--shape", "bitnet-2b-4t", "--type", "f16", "-o",
                                  self.path("m.gguf")], stderr=subprocess.PIPE)
        # The file has no name before it is complete: see whether the child holds one open that is growing.
        while not any(os.stat(fd).st_size > 1 << 20 for fd in self.open_files(child.pid)):
            self.assertIsNone(child.poll())
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        self.assertIn(b"Interrupted", child.communicate(timeout=60)[1])
        self.assertEqual(child.returncode, 130)
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    TERN = os.path.abspath(sys.argv.pop(1))
    program.skip_without_table(TERN)
    unittest.main()
