#!/usr/bin/env python3
"""tern convert from outside: options, progress to nothing half-written, memory, and files that Python reads.

    convert_test.py path/to/tern path/to/repository
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

TERN = ROOT = ""


def tern(*arguments):
    return subprocess.run([TERN, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tern-convert-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def golden(self, name):
        return os.path.join(ROOT, "tests", "golden", name)

    def files(self):
        return sorted(os.listdir(self.folder.name))

    def good(self, *arguments):
        done = tern(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def refused(self, *arguments, expect):
        before = self.files()
        done = tern("convert", *arguments)
        self.assertEqual(done.returncode, 2, done.stderr.decode())
        for words in expect:
            self.assertIn(words, done.stderr.decode())
        self.assertEqual(self.files(), before)


class Convert(Case):
    def test_a_folder_becomes_a_file_that_runs(self):
        out = self.path("out.gguf")
        self.good("convert", self.golden("hf/llama-tq2_0-groups"), out, "--type", "tq1_0", "--embedding-type", "q8_0")
        listing = self.good("inspect", out).stdout.decode()
        for words in ("TQ1_0", "Q8_0", "llama-tq2_0-groups"):
            self.assertIn(words, listing)
        self.assertNotIn("rotate_half", listing)
        self.good("run", "-m", out, "-n", 4, "and the")

    def test_bad_arguments(self):
        model, out = self.golden("models/bitnet-25-i2_s.gguf"), self.path("out.gguf")
        self.refused(model, out, "--type", "q5_k", expect=["--type", "q5_k", "i2_s", "tq2_0"])
        self.refused(model, out, expect=["error: --type"])
        self.refused(model, out, "--type", "i2_s", "--packing", "base3", expect=["--packing", "--type tern"])
        self.refused(model, out, "--type", "tern", "--packing", "three", expect=["--packing", "two_bit"])
        self.refused(model, out, "--type", "tern", "--isa", "mmx", expect=["--isa", "portable"])
        self.refused(model, out, "--type", "tern", "--packing", "sign", expect=["blk.0.attn_q", "zeros"])
        self.refused(model, out, "--type", "i2_s", "--embedding-type", "tq2_0", expect=["--embedding-type", "q6_k"])
        self.refused(self.path("none"), out, "--type", "i2_s", expect=["none", "No such file"])
        self.refused(model, self.path("no/such/place"), "--type", "i2_s", expect=["no/such"])
        self.refused(model, self.folder.name, "--type", "i2_s", expect=["directory"])
        self.refused(model, out, "--type", "tq2_0", expect=["blk.0", "128 x 128", "256"])
        groups = self.golden("models/llama-tq2_0-groups.gguf")
        self.refused(groups, out, "--type", "i2_s", expect=["blk.0", "several scales", "--allow-lossy"])
        done = self.good("convert", groups, out, "--type", "i2_s", "--allow-lossy")
        self.assertIn("several scales", done.stderr.decode())

    def test_existing_files_need_force(self):
        model, out = self.golden("models/bitnet-25-i2_s.gguf"), self.path("out.gguf")
        with open(out, "w") as file:
            file.write("precious")
        self.refused(model, out, "--type", "f32", expect=["exists", "--force"])
        self.good("convert", model, out, "--type", "f32", "--force")
        self.assertEqual(self.files(), ["out.gguf"])
        self.refused(out, out, "--type", "f16", "--force", expect=["of the model itself"])

    def test_memory_is_bounded(self):
        # The largest tensor of this model has 27 MB. Whoever held a whole model, read or written, would be above the bound
        # in any packing: the smallest is base3, 1.6 bits a weight, which some instruction sets have and others do not.
        bound = 100 << 20
        model, out = self.path("in.gguf"), self.path("out.gguf")
        self.good("synth", "--shape", "bitnet-0.7b", "--type", "i2_s", "--embedding", "q4_0", "-o", model)
        self.assertGreater(os.path.getsize(model), 1.5 * bound)
        for kind in ("iq2_bn", "tern"):
            done = subprocess.run([sys.executable, "-c", (
                "import resource, subprocess, sys;"
                "subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL);"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            ), TERN, "convert", model, out, "--type", kind, "--force"], stdout=subprocess.PIPE, check=True)
            self.assertGreater(os.path.getsize(out), 1.5 * bound, kind)
            if not program.SANITIZED:
                self.assertLess(int(done.stdout) << 10, bound, kind)

    def test_python_reads_it(self):
        try:
            import gguf
            import numpy as np
        except ImportError:
            self.skipTest("needs the Python package gguf")
        source = self.golden("models/llama-tq2_0-groups.gguf")
        truth = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(source).tensors}
        for kind in ("tq1_0", "tq2_0", "f32", "q4_k"):
            out = self.path("out.gguf")
            kinds = ["--type", "tq2_0", "--embedding-type", kind] if kind == "q4_k" else ["--type", kind]
            self.good("convert", self.golden("hf/llama-tq2_0-groups"), out, *kinds, "--force")
            reader = gguf.GGUFReader(out)
            found = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
            self.assertEqual(sorted(found), sorted(truth))
            for name, values in truth.items():
                if kind == "q4_k" and name == "token_embd.weight":
                    self.assertLess(np.linalg.norm(found[name] - values) / np.linalg.norm(values), 0.12)
                elif name != "token_embd.weight":  # the folder keeps what Q4_0 rounds
                    self.assertTrue(np.array_equal(found[name].reshape(-1), values.reshape(-1)), name)
            self.assertEqual(reader.fields["general.architecture"].contents(), "llama")
            self.assertEqual(reader.fields["general.quantization_version"].contents(), 2)
            self.assertEqual(len(reader.fields["tokenizer.ggml.tokens"].contents()), 272)


class Ends(Case):
    """Whatever ends the program, and when: the file is whole or not there, and nothing else is."""

    def started(self, model):
        return subprocess.Popen([TERN, "convert", model, self.path("out.gguf"), "--type", "tq1_0"], stderr=subprocess.PIPE)

    def test_killed_at_any_moment(self):
        model = self.path("in.gguf")
        self.good("synth", "--shape", "trilm-99m", "--type", "tq2_0", "--embedding", "q4_0", "-o", model)
        begin = time.monotonic()
        self.good("convert", model, self.path("out.gguf"), "--type", "tq1_0")
        whole = time.monotonic() - begin
        with open(self.path("out.gguf"), "rb") as file:
            truth = file.read()
        rng = random.Random(1)
        ends = []
        for end in [signal.SIGKILL] * 10 + [signal.SIGINT] * 3 + [signal.SIGTERM] * 3:
            if os.path.exists(self.path("out.gguf")):
                os.remove(self.path("out.gguf"))
            child = self.started(model)
            time.sleep(rng.uniform(0, 1.2 * whole))
            child.send_signal(end)
            child.communicate(timeout=60)
            ends.append(child.returncode)
            # By the signal itself where it came before the program had begun.
            self.assertIn(child.returncode, (0, -end) if end == signal.SIGKILL else (0, -end, 128 + end))
            left = self.files()
            self.assertIn(left, (["in.gguf"], ["in.gguf", "out.gguf"]), end)
            if "out.gguf" in left:
                with open(self.path("out.gguf"), "rb") as file:
                    self.assertEqual(file.read(), truth)
        self.assertTrue(any(code != 0 for code in ends), "every run was over before its signal")

    def test_an_existing_file_stays_until_the_new_one_is_whole(self):
        model = self.golden("models/bitnet-25-i2_s.gguf")
        with open(self.path("out.gguf"), "w") as file:
            file.write("precious")
        groups = self.golden("models/llama-tq2_0-groups.gguf")
        self.refused(groups, self.path("out.gguf"), "--type", "i2_s", "--force", expect=["--allow-lossy"])
        with open(self.path("out.gguf")) as file:
            self.assertEqual(file.read(), "precious")
        self.good("convert", model, self.path("out.gguf"), "--type", "f32", "--force")


if __name__ == "__main__":
    ROOT = os.path.abspath(sys.argv.pop(2))
    TERN = os.path.abspath(sys.argv.pop(1))
    program.skip_without_table(TERN)
    unittest.main()
