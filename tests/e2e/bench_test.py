#!/usr/bin/env python3
"""tern bench from outside: what it measures, in every format; speeds themselves are not tested.

    bench_test.py path/to/tern
"""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

TERN = ""
QUICK = ("-p", "16", "-n", "4", "-r", "2", "-t", "1")


def tern(*arguments, **options):
    return subprocess.run([TERN, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, **options)


def has_matplotlib(pythons=("python3", "/usr/bin/python3")):
    return any(shutil.which(python) is not None and
               subprocess.run([python, "-I", "-c", "import matplotlib"], stderr=subprocess.DEVNULL).returncode == 0
               for python in pythons)


class Bench(unittest.TestCase):
    def bench(self, *arguments, **options):
        done = tern("bench", *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def refused(self, *arguments, expect, **options):
        done = tern("bench", *arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (2, b""), done.stderr.decode())
        for words in expect:
            self.assertIn(words, done.stderr.decode())

    def test_every_setting_is_measured(self):
        data = json.loads(self.bench(*QUICK, "-d", "0,32", "--isa", "portable", "--packing", "two_bit,base3", "-o", "json"))
        rows = data["results"]
        self.assertEqual({(row["test"], row["packing"]) for row in rows},
                         {(test, packing) for test in ("pp16", "tg4", "pp16 @ d32", "tg4 @ d32")
                          for packing in ("two_bit", "base3")})
        for row in rows:
            self.assertEqual(row["kernels"], "portable")
            self.assertEqual(len(row["samples_tokens_per_second"]), 2)
            for key in ("tokens_per_second", "gigabytes_per_second", "bandwidth_gigabytes_per_second", "tops",
                        "peak_tops", "ms_per_token_ffn", "ms_per_token_head", "ms_per_token_attention"):
                self.assertGreater(row[key], 0, key)

    def test_parts_lie_within_the_whole(self):
        # Of one repetition, so that no medians of different ones are compared.
        data = json.loads(self.bench("-p", "16", "-n", "4", "-r", "1", "-o", "json"))
        for row in data["results"]:
            parts = sum(value for key, value in row.items() if key.startswith("ms_per_token"))
            self.assertGreater(parts, 0)
            self.assertLessEqual(parts * row["tokens_per_second"] / 1000, 1.001, row)

    def test_formats(self):
        table = self.bench(*QUICK)
        self.assertIn("| pp16", table)
        self.assertIn("t/s", table)
        lines = [json.loads(line) for line in self.bench(*QUICK, "-o", "jsonl").splitlines()]
        self.assertEqual([line["test"] for line in lines], ["pp16", "tg4"])
        rows = list(csv.DictReader(io.StringIO(self.bench(*QUICK, "-o", "csv"))))
        self.assertEqual([row["test"] for row in rows], ["pp16", "tg4"])
        self.assertGreater(float(rows[0]["tokens_per_second"]), 0)

    def test_fp16_twin(self):
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "small.gguf")
            self.assertEqual(tern("synth", "--shape", "small", "--type", "tq2_0", "-o", model).returncode, 0)
            scratch = os.path.join(folder, "tmp")
            os.mkdir(scratch)
            data = json.loads(self.bench(*QUICK, "-m", model, "--vs-fp16", "-o", "json",
                                         env={**os.environ, "TMPDIR": scratch}))
            self.assertEqual(os.listdir(scratch), [])
        by_name = {}
        for row in data["results"]:
            by_name.setdefault(row["model"], []).append(row)
        self.assertEqual(set(by_name), {"small.gguf", "small-f16.gguf"})
        for ours, twin in zip(by_name["small.gguf"], by_name["small-f16.gguf"]):
            self.assertEqual(ours["model_n_params"], twin["model_n_params"])
            self.assertEqual(twin["packing"], "F16")
            self.assertAlmostEqual(ours["speedup_over_fp16"], ours["tokens_per_second"] / twin["tokens_per_second"])

    def test_bad_arguments(self):
        self.refused("-p", "0", "-n", "0", expect=["-p and -n"])
        self.refused("-p", "many", expect=["-p", "many"])
        self.refused("-o", "xml", expect=["-o", "xml", "md, json"])
        self.refused("--plot", "out.gif", expect=["--plot", ".png"])
        self.refused("--isa", "portable,nonesuch", expect=["nonesuch"])
        self.refused("--packing", "tight", expect=["tight", "base3"])
        self.refused("-m", "no-such-model.gguf", expect=["no-such-model.gguf"])

    @unittest.skipIf(has_matplotlib(("/usr/bin/python3",)), "the system's own Python has matplotlib")
    def test_without_matplotlib(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "python3"), "w") as file:
                file.write("#!/bin/sh\nexit 1\n")
            os.chmod(os.path.join(folder, "python3"), 0o755)
            env = {**os.environ, "PATH": folder + ":" + os.environ["PATH"]}
            self.refused("--plot", os.path.join(folder, "out.png"), expect=["python3-matplotlib"], env=env)

    def test_a_module_in_the_working_folder_is_not_run(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("matplotlib.py", "json.py", "sitecustomize.py"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("open('was-run', 'w')")
            tern("bench", *QUICK, "--plot", os.path.join(folder, "out.svg"), cwd=folder,
                 env={**os.environ, "PYTHONPATH": folder})
            self.assertNotIn("was-run", os.listdir(folder))

    @unittest.skipUnless(has_matplotlib(), "needs matplotlib")
    def test_plot(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, magic in (("it's.png", b"\x89PNG"), ("out.svg", b"<?xml")):
                path = os.path.join(folder, name)
                self.bench(*QUICK, "--plot", path)
                with open(path, "rb") as file:
                    whole = file.read()
                self.assertEqual(whole[:len(magic)], magic)
                self.refused(*QUICK, "--plot", path, expect=["exists", "--force"])
                with open(path, "rb") as file:
                    self.assertEqual(file.read(), whole)

    def test_an_interrupt_prints_what_was_measured(self):
        child = subprocess.Popen([TERN, "bench", "-p", "8", "-n", "2", "-r", "1000", "-t", "1", "-o", "json"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(3)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130, err)
        if b"before the first measurement" in err:  # a machine so busy that nothing was measured by then
            self.assertEqual(json.loads(out)["error"]["class"], "interrupted")
            return
        data = json.loads(out)
        self.assertIn("Interrupted", " ".join(data["notes"]))
        self.assertLess(len(data["results"][0]["samples_tokens_per_second"]), 1000)


if __name__ == "__main__":
    TERN = os.path.abspath(sys.argv.pop(1))
    program.skip_without_table(TERN)
    unittest.main()
