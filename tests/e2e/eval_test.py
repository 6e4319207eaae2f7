#!/usr/bin/env python3
"""`tern eval` against what lm-evaluation-harness found (tests/golden/eval/make_eval.py).

Usage: eval_test.py TERN [unittest arguments]
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import program

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden")
TERN = ""


def tern(*arguments):
    return subprocess.run([TERN, *arguments], capture_output=True, timeout=120, stdin=subprocess.DEVNULL)


class Eval(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        with open(f"{GOLDEN}/eval/expected.json") as file:
            self.expected = json.load(file)
        self.model = f"{GOLDEN}/models/{self.expected['model']}.gguf"

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_task(self, task, *more):
        samples = self.path("samples.jsonl")
        done = tern("eval", "-m", self.model, "--task", task, "-c", "256", "-o", "json", "--log-samples", samples, "--force", *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(samples) as file:
            return json.loads(done.stdout), [json.loads(line) for line in file]

    def test_every_likelihood_is_the_harness_s(self):
        self.assertEqual(sorted(self.expected["tasks"]), ["arc_easy", "blimp", "lambada", "piqa", "winogrande"])
        for task, truth in self.expected["tasks"].items():
            rows, samples = self.run_task(task, "-f", f"{GOLDEN}/eval/{task}.jsonl")
            self.assertEqual(len(samples), 16)
            close = 0
            for found, item in zip(samples, truth["samples"]):
                self.assertEqual(found["greedy"], item["greedy"])
                self.assertEqual(len(found["log_likelihoods"]), len(item["log_likelihoods"]))
                for a, b in zip(found["log_likelihoods"], item["log_likelihoods"]):
                    # Keys and values are halves here, floats there.
                    self.assertLess(abs(a - b), 5e-3 * abs(b), task)
                    close += abs(a - b) < 1e-3 * abs(b)
            self.assertGreater(close, 24 if task not in ("lambada",) else 12)
            for metric in ("acc", "acc_norm"):
                if f"{metric},none" in truth["results"]:
                    self.assertAlmostEqual(rows[0][metric], truth["results"][f"{metric},none"], places=9)
                    self.assertAlmostEqual(rows[0][metric + "_stderr"], truth["results"][f"{metric}_stderr,none"], places=9)
                else:
                    self.assertNotIn(metric, rows[0])
            if task == "lambada":
                self.assertAlmostEqual(math.log(rows[0]["perplexity"]) / math.log(truth["results"]["perplexity,none"]), 1, places=3)

    def test_short_fields_ask_the_same(self):
        """{query, choices, gold} and its like stand for the same prompts as the data sets' own fields."""
        short = {
            "arc_easy": lambda d: {"query": "Question: " + d["question"], "choices": d["choices"]["text"],
                                   "gold": d["choices"]["label"].index(d["answerKey"])},
            "piqa": lambda d: {"query": f"Question: {d['goal']}\n", "choices": [d["sol1"], d["sol2"]], "gold": d["label"]},
            "winogrande": lambda d: {"context_options": [d["sentence"].split("_")[0] + d[o] for o in ("option1", "option2")],
                                     "continuation": d["sentence"].split("_")[1].strip(), "gold": int(d["answer"]) - 1},
            "lambada": lambda d: dict(zip(("context", "continuation"), d["text"].rsplit(" ", 1))),
        }
        for task, convert in short.items():
            with open(f"{GOLDEN}/eval/{task}.jsonl") as file, open(self.path("short.jsonl"), "w") as out:
                for line in file:
                    out.write(json.dumps(convert(json.loads(line))) + "\n")
            self.assertEqual(self.run_task(task, "-f", self.path("short.jsonl"), "--limit", "8")[1],
                             self.run_task(task, "-f", f"{GOLDEN}/eval/{task}.jsonl", "--limit", "8")[1])

    def test_several_files_are_judged_together(self):
        file = f"{GOLDEN}/eval/blimp.jsonl"
        rows, _ = self.run_task("blimp", "-f", file, file)
        self.assertEqual([row["items"] for row in rows], [16, 16, 32])
        self.assertEqual(rows[0]["acc"], rows[2]["acc"])

    def refused(self, *arguments, expect):
        done = tern("eval", "-m", self.model, *arguments)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, b"")
        self.assertIn(expect, done.stderr.decode())

    def test_bad_input(self):
        blimp = f"{GOLDEN}/eval/blimp.jsonl"
        self.refused("--task", "mmlu", "-f", blimp, expect="arc_easy, piqa")
        self.refused("--task", "piqa", "-f", blimp, expect="line 1")
        self.refused("--task", "blimp", "-f", self.path("none"), expect="none")
        self.refused("--task", "blimp", "-f", blimp, "-o", "xml", expect="json")
        for text, expect in (("", "no line"), ("[1]\n", "JSON object"), ('{"query": "a", "choices": ["b"], "gold": 1}\n', "gold")):
            with open(self.path("bad.jsonl"), "w") as file:
                file.write(text)
            self.refused("--task", "arc_easy", "-f", self.path("bad.jsonl"), expect=expect)


if __name__ == "__main__":
    TERN = sys.argv[1]
    program.skip_without_table(TERN)
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
