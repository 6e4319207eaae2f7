#!/usr/bin/env python3
"""Runs the tern program as a person would: right and wrong arguments, pipes, interrupts, full disks.

Usage: cli_test.py TERN MODEL [unittest arguments]
"""

import json
import math
import os
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import unittest

import program

TERN, MODEL = "", ""


def tern(*arguments, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    return subprocess.run([TERN, *arguments], capture_output=True, timeout=120, **options)


def text_of(*arguments, **options):
    done = tern("run", "-m", MODEL, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def refused(self, *arguments, expect, **options):
        """The command fails as bad input should: exit code 2, nothing on stdout, one message that says what is wrong."""
        done = tern(*arguments, **options)
        message = done.stderr.decode()
        self.assertEqual(done.returncode, 2, message)
        self.assertEqual(done.stdout, b"")
        for words in [expect] if isinstance(expect, str) else expect:
            self.assertIn(words, message)
        return message


class Embed(Case):
    """`tern embed` with the default model, which is none for embeddings: allowed, with a note."""

    def embed(self, *arguments, **options):
        done = tern("embed", "-m", MODEL, *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_json(self):
        done = self.embed("a dog", "a cat")
        self.assertIn(b"names no pooling", done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual([entry["index"] for entry in answer["data"]], [0, 1])
        self.assertGreater(answer["usage"]["prompt_tokens"], 2)
        for entry in answer["data"]:
            self.assertAlmostEqual(math.sqrt(sum(x * x for x in entry["embedding"])), 1, places=5)

    def test_lines_of_a_pipe_are_texts_and_f32_is_raw(self):
        given = self.embed("a dog", "a cat", "--pooling", "mean")
        piped = self.embed("-", "--output", "f32", "--pooling", "mean", input=b"a dog\na cat\n")
        self.assertEqual(piped.stderr.count(b"names no pooling"), 0)
        vectors = [entry["embedding"] for entry in json.loads(given.stdout)["data"]]
        numbers = struct.unpack(f"<{len(piped.stdout) // 4}f", piped.stdout)
        self.assertEqual(len(numbers), 2 * len(vectors[0]))
        for a, b in zip(numbers, vectors[0] + vectors[1]):
            self.assertAlmostEqual(a, b, places=6)

    def test_bad_input(self):
        self.refused("embed", "-m", MODEL, input=b"", expect="Expected a text")
        self.refused("embed", "-m", MODEL, "a dog", "--pooling", "max", expect="--pooling")
        self.refused("embed", "-m", MODEL, "a dog", "-f", "-", expect="found both")
        self.refused("embed", "-m", self.path("none.gguf"), "a dog", expect="none.gguf")
        self.refused("embed", "-m", MODEL, "a dog " * 90, "-c", "64", expect=["text 1", "at most 64 tokens"])


class Tune(Case):
    """`tern tune` and who uses what it stored. TERN_ISA, which forced-table runs set, would hide it."""

    def setUp(self):
        super().setUp()
        self.environment = {name: value for name, value in os.environ.items() if name != "TERN_ISA"}
        self.environment["XDG_CACHE_HOME"] = self.path("cache")
        self.file = self.path("cache/tern/tune.json")

    def tern(self, *arguments, **more):
        done = tern(*arguments, env={**self.environment, **more})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def setting(self, *arguments, **more):
        """The line in which -v says how the model is computed, after the notices."""
        done = self.tern("run", "-m", MODEL, "-v", "-n", "1", *arguments, "Once", **more)
        lines = done.stderr.decode().splitlines()
        return "\n".join(line for line in lines if line.startswith("note: ") or " kernels, " in line)

    def store(self, **changes):
        with open(self.file) as file:
            fields = json.load(file)
        with open(self.file, "w") as file:
            json.dump({**fields, **changes}, file)

    def test_is_stored_used_and_forgotten(self):
        before = self.setting()
        self.assertNotIn("tuned", before)
        report = self.tern("tune", "-m", MODEL).stdout.decode()
        self.assertIn(self.file, report)
        self.assertIn("two_bit", report)
        self.assertIn("(tuned)", self.setting())
        self.assertIn("measured by `tern tune`", self.tern("doctor").stdout.decode())

        # What is stored is what is used, by all who compute, unless options say otherwise.
        self.store(kernels="portable", cached="base3", streamed="bitplanes", threads=1, batch_threads=1)
        self.assertIn("portable kernels, base3, int8 activations, 1 threads (tuned)", self.setting())
        self.assertIn("portable kernels, two_bit, int8 activations, 1 threads (tuned)", self.setting("--packing", "two_bit"))
        self.assertIn("portable kernels, base3, int8 activations, 2 threads (tuned)", self.setting("-t", "2"))
        text = self.tern("run", "-m", MODEL, "-n", "16", "--temp", "0", "Once").stdout
        self.assertEqual(text.decode(), text_of("-n", "16", "--temp", "0", "Once"))
        # What was measured with portable kernels says nothing about others.
        best = before.split(" kernels")[0].split()[-1]
        if best != "portable":
            for how in ({"TERN_ISA": best}, {}):
                setting = self.setting(*([] if how else ["--isa", best]), **how)
                self.assertIn(best + " kernels", setting)
                self.assertNotIn("tuned", setting)

        self.assertIn("removed", self.tern("tune", "--reset").stdout.decode())
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual(self.setting(), before)
        self.tern("tune", "--reset")  # nothing to remove is no error

    def test_what_is_of_no_use_is_left_aside(self):
        plain = self.setting()
        os.makedirs(os.path.dirname(self.file))
        for content, reason in (("not JSON", "is damaged"), ("{}", "is damaged"),
                                ('{"cpu": "6502", "cores": 1, "version": "0.0.1"}', "6502")):
            with open(self.file, "w") as file:
                file.write(content)
            said = self.setting()
            self.assertIn(reason, said)
            self.assertIn("tern tune --reset", said)
            self.assertTrue(said.endswith(plain), said)


class BadInput(Case):
    def test_arguments(self):
        self.refused(expect="expected a command")
        self.refused("run", "--no-such-flag", "x", expect="--no-such-flag")
        self.refused("run", "--temp", "warm", "x", expect="--temp")
        self.refused("run", "--top-p", "1.5", "x", expect="--top-p")
        self.refused("run", "-m", MODEL, "--logit-bias", "5", "x", expect="TOKEN+VALUE")
        self.refused("run", "-m", MODEL, "--i2s-layout", "best", "x", expect="auto, 128, arm64 or 1x4")

    def test_instruction_set(self):
        for place in ({"arguments": ["--isa", "doesnotexist"]}, {"env": {**os.environ, "TERN_ISA": "doesnotexist"}}):
            self.refused("run", "-m", MODEL, *place.get("arguments", []), "x", expect=["portable", "doesnotexist"],
                         env=place.get("env", os.environ))

    def test_model_files(self):
        self.refused("run", "-m", self.path("none.gguf"), "x", expect=["none.gguf", "No such file"])
        self.refused("run", "-m", self.folder.name, "x", expect="directory")
        with open(self.path("text.gguf"), "w") as file:
            file.write("This is not a model.\n" * 100)
        self.refused("run", "-m", self.path("text.gguf"), "x", expect="GGUF")
        open(self.path("empty.gguf"), "w").close()
        self.refused("run", "-m", self.path("empty.gguf"), "x", expect="empty.gguf")

    def test_truncated_model(self):
        with open(MODEL, "rb") as file:
            whole = file.read()
        for size in (3, 4, 20, 1000, len(whole) // 2, len(whole) - 1):
            with open(self.path("cut.gguf"), "wb") as file:
                file.write(whole[:size])
            self.refused("run", "-m", self.path("cut.gguf"), "x", expect="cut.gguf")
            self.refused("inspect", self.path("cut.gguf"), expect="cut.gguf")

    def test_prompts(self):
        self.refused("run", "-m", MODEL, "-f", self.path("none.txt"), expect="none.txt")
        self.refused("run", "-m", MODEL, "-c", "16", "one two three four five " * 20, expect=["context", "16"])

    def test_outputs(self):
        self.refused("logits", "-m", MODEL, "--tokens", "1,2", "-o", self.path("no/such/folder"), expect="no/such")
        self.refused("logits", "-m", MODEL, "--tokens", "1,99999999", "-o", self.path("out"), expect="99999999")
        self.assertFalse(os.path.exists(self.path("out")))

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([TERN, "run", "-m", MODEL, "-n", "4", "Once"], stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"full", done.stderr)


class Run(Case):
    def test_version_and_help(self):
        self.assertRegex(tern("--version").stdout.decode(), r"^tern \d+\.\d+\.\d+\n$")
        for command in ("run", "chat", "inspect", "tokenize", "perplexity", "logits", "doctor", "tune"):
            done = tern(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn(b"--help", done.stdout)

    def test_same_seed_same_text(self):
        arguments = ("-n", "24", "--seed", "5", "--temp", "1", "Once upon a time")
        self.assertEqual(text_of(*arguments), text_of(*arguments))
        others = {text_of("-n", "24", "--seed", str(seed), "--temp", "1", "Once upon a time") for seed in range(4)}
        self.assertGreater(len(others), 1)

    def test_output_is_the_text_alone(self):
        done = tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time")
        self.assertTrue(done.stdout.startswith(b"Once upon a time"))
        self.assertNotIn(b"tokens/s", done.stdout)
        self.assertIn(b"tokens/s", done.stderr)
        alone = text_of("-n", "8", "--temp", "0", "--no-display-prompt", "Once upon a time")
        self.assertEqual(done.stdout.decode(), "Once upon a time" + alone)

    def test_prompt_from_file_and_pipe(self):
        with open(self.path("prompt.txt"), "w") as file:
            file.write("Once upon a time")
        arguments = ("-n", "8", "--temp", "0")
        expected = text_of(*arguments, "Once upon a time")
        self.assertEqual(text_of(*arguments, "-f", self.path("prompt.txt")), expected)
        self.assertEqual(text_of(*arguments, input=b"Once upon a time"), expected)
        self.assertEqual(text_of(*arguments, input=b"Once upon a time\n"), expected)  # as echo writes it
        self.assertEqual(text_of(*arguments, "-", input=b"Once upon a time"), expected)

    def test_threads_do_not_change_the_text(self):
        texts = {text_of("-n", "16", "--temp", "0", "-t", threads, "Once upon a time") for threads in ("1", "2", "3")}
        self.assertEqual(len(texts), 1)

    def test_instruction_sets_write_the_same_text(self):
        report = tern("doctor").stdout.decode()
        tables = [line.split()[-3] for line in report.splitlines() if line.endswith("runs here")]
        self.assertIn("portable", tables)
        texts = {text_of("-n", "48", "--temp", "0", "--isa", table, "Once upon a time") for table in tables}
        self.assertEqual(len(texts), 1)

    def test_speculation_writes_the_same_text(self):
        prompt = "Lily had a red ball. Lily had a blue ball. Lily had a"
        for sampling in (["--temp", "0"], ["--seed", "3"]):
            texts = {text_of("-n", "64", "--ignore-eos", *sampling, *how, prompt)
                     for how in ([], ["--speculate", "0"], ["--speculate", "5"], ["--draft", MODEL, "--speculate", "3"])}
            self.assertEqual(len(texts), 1)
        done = json.loads(text_of("-n", "64", "--temp", "0", "--speculate", "2", "--draft", MODEL, "--json", prompt))
        self.assertGreater(done["accepted_tokens"], 20)  # the model guesses for itself
        self.assertLessEqual(done["accepted_tokens"], done["proposed_tokens"])
        self.assertGreater(done["speculation_gain"], 0)

    def test_speculation_refuses_nonsense(self):
        for number in ("65", "-1", "some"):
            self.refused("run", "-m", MODEL, "--speculate", number, "x", expect=["--speculate", "auto", number])
        self.refused("run", "-m", MODEL, "--speculate", "0", "--draft", MODEL, "x", expect="--draft")
        self.refused("chat", "-m", MODEL, "--draft", self.path("none.gguf"), expect="none.gguf")
        other = os.path.join(os.path.dirname(__file__), "../golden/models/bitnet-i2_s.gguf")
        self.refused("run", "-m", MODEL, "--draft", other, "x", expect=["4096 tokens, found 272", "same family"])

    def test_json(self):
        done = json.loads(text_of("-n", "8", "--temp", "0", "--ignore-eos", "--json", "Once upon a time"))
        self.assertEqual(done["completion_tokens"], 8)
        self.assertEqual(done["stop_reason"], "length")
        plain = text_of("-n", "8", "--temp", "0", "--ignore-eos", "--no-display-prompt", "Once upon a time")
        self.assertEqual(done["text"] + "\n", plain)

    def test_stop_string(self):
        arguments = ("--temp", "0", "-n", "40", "--ignore-eos", "--no-display-prompt", "--json", "Once upon a time")
        text = json.loads(text_of(*arguments))["text"]
        stop = text[10:13]
        stopped = json.loads(text_of("--stop", stop, *arguments))
        self.assertEqual(stopped["text"], text[:text.index(stop)])
        self.assertEqual(stopped["stop_reason"], "stop string")

    def test_context_full(self):
        done = json.loads(text_of("-c", "32", "--ignore-eos", "--temp", "0", "--json", "Once upon a time"))
        self.assertEqual(done["stop_reason"], "context full")
        self.assertEqual(done["prompt_tokens"] + done["completion_tokens"], 33)  # the last one needs no room

    def interrupted(self, signals):
        process = subprocess.Popen([TERN, "run", "-m", MODEL, "-c", "8192", "--ignore-eos", "Once upon a time"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(40)  # it is generating
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors.decode()

    def test_interrupt_ends_cleanly(self):
        code, errors = self.interrupted(1)
        self.assertEqual(code, 130)
        self.assertIn("cancelled", errors)
        self.assertIn("tokens/s", errors)


    def test_second_interrupt_quits(self):
        """Once while it reads a long prompt, then again at once."""
        with open(self.path("prompt.txt"), "w") as file:
            file.write("Once upon a time there was a cat. " * 800)
        process = subprocess.Popen([TERN, "run", "-m", MODEL, "-c", "8192", "--isa", "portable", "-f", self.path("prompt.txt")],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(4)  # the prompt is shown when its reading begins
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)


class Doctor(Case):
    def test_kernels_pass_their_self_test(self):
        done = tern("doctor")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"bandwidth", done.stdout)
        forced = tern("doctor", "--isa", "portable").stdout.decode()
        self.assertRegex(forced, r"\* portable +runs here")


class Logits(Case):
    def test_perplexity_is_that_of_the_logits(self):
        """The tool's figure against one computed here, from raw logits, by the definition."""
        text = "Once upon a time there was a little girl who lived near the sea with her mother and her cat. " * 4
        with open(self.path("text.txt"), "w") as file:
            file.write(text)
        window = 32
        done = tern("perplexity", "-m", MODEL, "-f", self.path("text.txt"), "-c", str(window), "--chunks", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        printed = done.stdout.decode().split()
        ids = [int(i) for i in tern("tokenize", "-m", MODEL, "--ids", "-f", self.path("text.txt")).stdout.split()]
        losses = []
        for chunk in range(2):
            tokens = ids[chunk * window:(chunk + 1) * window]
            tokens[0] = ids[0]  # BOS
            out = self.path("logits")
            done = tern("logits", "-m", MODEL, "--tokens", ",".join(map(str, tokens)), "-o", out, "--force")
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out, "rb") as file:
                data = file.read()
            vocab = len(data) // 4 // window
            rows = [struct.unpack_from(f"<{vocab}f", data, row * vocab * 4) for row in range(window)]
            for position in range(window // 2, window - 1):
                row = rows[position]
                total = math.log(math.fsum(math.exp(logit) for logit in row))
                losses.append(total - row[tokens[position + 1]])
        mean = sum(losses) / len(losses)
        variance = sum((loss - mean) ** 2 for loss in losses) / len(losses)
        self.assertAlmostEqual(float(printed[1]) / math.exp(mean), 1, places=4)
        self.assertAlmostEqual(float(printed[3]) / (math.exp(mean) * math.sqrt(variance / (len(losses) - 1))), 1, places=3)


class Divergence(Case):
    """`tern perplexity --save-logits` and `--kl`: a run with another KV cache against a run with halves."""

    WINDOW, CHUNKS = 32, 2
    TEXT = "Once upon a time there was a little girl who lived near the sea with her mother and her cat. " * 4

    def setUp(self):
        super().setUp()
        self.text = self.file("text.txt", self.TEXT.encode())
        self.saved = self.path("base.logits")

    def file(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def arguments(self, *more, text=None):
        return ("perplexity", "-m", MODEL, "-t", "1", "-f", text or self.text, *more)

    def measure(self, *more):
        done = tern(*self.arguments(*more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return [float(number) for number in re.findall(r"(?<![\w])\d[\d.]*(?:e[-+]\d+)?", done.stdout.decode())]

    def save(self, *more):
        return self.measure("-c", str(self.WINDOW), "--chunks", str(self.CHUNKS), "--save-logits", self.saved, *more)

    def log_probabilities(self, tokens, *more):
        out = self.path("logits")
        done = tern("logits", "-m", MODEL, "--tokens", ",".join(map(str, tokens)), "-t", "1", "-o", out, "--force", *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, "rb") as file:
            data = file.read()
        vocab = len(data) // 4 // len(tokens)
        for position in range(self.WINDOW // 2, self.WINDOW - 1):
            row = struct.unpack_from(f"<{vocab}f", data, position * vocab * 4)
            total = math.log(math.fsum(map(math.exp, row)))
            yield [logit - total for logit in row]

    def test_figures_are_those_of_the_logits(self):
        ids = [int(i) for i in tern("tokenize", "-m", MODEL, "--ids", "-f", self.text).stdout.split()]
        divergences, same, base_losses, differences = [], [], [], []
        for chunk in range(self.CHUNKS):
            tokens = ids[:1] + ids[chunk * self.WINDOW + 1:(chunk + 1) * self.WINDOW]
            pairs = zip(self.log_probabilities(tokens), self.log_probabilities(tokens, "--kv-type", "q8_0"))
            for position, (base, other) in enumerate(pairs, self.WINDOW // 2):
                divergences.append(math.fsum(math.exp(p) * (p - q) for p, q in zip(base, other)))
                same.append(base.index(max(base)) == other.index(max(other)))
                base_losses.append(-base[tokens[position + 1]])
                differences.append(base[tokens[position + 1]] - other[tokens[position + 1]])

        def error(values):
            return statistics.stdev(values) / math.sqrt(len(values))

        cuts = statistics.quantiles(divergences, n=100, method="inclusive")
        base, ratio = math.exp(statistics.mean(base_losses)), math.exp(statistics.mean(differences))
        expected = [base, base * error(base_losses), ratio, ratio * error(differences),
                    statistics.mean(divergences), error(divergences), cuts[49], 90, cuts[89], 99, cuts[98], max(divergences),
                    100 * statistics.mean(same), 100 * error(same)]
        self.assertGreater(min(divergences), 0)
        self.save()
        found = self.measure("--kv-type", "q8_0", "--kl", self.saved)[5:]
        self.assertEqual(len(found), len(expected))
        for a, b, digits in zip(found, expected, [4] * 2 + [6] * 2 + [None] * 8 + [4] * 2):
            self.assertLess(abs(a - b), 1e-5 * b if digits is None else 0.51 * 10 ** -digits, (found, expected))

    def test_a_model_does_not_differ_from_itself(self):
        saved = self.save()
        for more in (("--kl", self.saved), ("--kl-divergence-base", self.saved, "--kl-divergence"), ("--kl-divergence", "--kl-divergence-base", self.saved)):
            found = self.measure(*more)
            self.assertEqual(found[:5], saved)
            self.assertEqual(found[5:], found[:2] + [1, 0, 0, 0, 0, 90, 0, 99, 0, 0, 100, 0])
        self.assertEqual(self.measure("--kl", self.saved, "--chunks", "1")[3], self.WINDOW // 2 - 1)

    def test_bad_input(self):
        self.save()
        with open(self.saved, "rb") as file:
            data = file.read()

        def refused(expect, *more, **options):
            self.refused(*self.arguments(*more, **options), expect=expect)

        for content, expect in ((b"", "another file"), (b"GGUF" + data[4:], "another file"), (data[:-1], "cut off"), (data + data[-4:], "cut off"),
                                (data[:50], "another file"), (data[:8] + b"\2" + data[9:], "version 2"), (data[:12] + bytes(4) + data[16:], "damaged"),
                                (data[:12] + b"\xff" * 3 + data[15:], "cut off"), (data[:-4] + b"\0\0\xc0\x7f", "finite"),
                                (data[:40] + b"?" + data[41:], "for others")):
            refused(["bad.logits" if expect != "finite" else "prediction 30", expect], "--kl", self.file("bad.logits", content))
        refused("none", "--kl", self.path("none"))
        refused("FILE", "--kl")
        refused("found both", "--kl", self.saved, "--save-logits", self.path("more.logits"))
        refused(["windows of 16", "found 32"], "--kl", self.saved, "-c", "16")
        refused("--chunks 3, found 2", "--kl", self.saved, "--chunks", "3")
        refused("for others", "--kl", self.saved, text=self.file("other.txt", self.TEXT.replace("girl", "boy").encode()))
        refused("cannot write", "-c", "32", "--save-logits", self.path("none/base.logits"))
        small = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/models/llama-f32.gguf")
        self.refused("perplexity", "-m", small, "-f", self.text, "--kl", self.saved, expect="vocabulary")

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        # A full disk leaves nothing behind.
        self.refused(*self.arguments("-c", "32", "--save-logits", self.path("full.logits")), expect="cannot write", preexec_fn=limit)
        self.assertEqual([name for name in os.listdir(self.folder.name) if "full" in name or "more" in name], [])


class Chat(Case):
    def chat(self, text):
        home = {**os.environ, "XDG_STATE_HOME": self.path("state")}
        return tern("chat", "-m", MODEL, "-n", "8", "--temp", "0", input=text.encode(), env=home)

    def test_commands(self):
        done = self.chat(f"/help\n/nonsense\nHello there\n/save {self.path('talk.json')}\n/reset\n/exit\nnot read\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"/reset", done.stderr)
        self.assertIn(b"there is no command /nonsense", done.stderr)
        with open(self.path("talk.json")) as file:
            talk = json.load(file)
        self.assertEqual([message["role"] for message in talk], ["user", "assistant"])
        self.assertEqual(talk[0]["content"], "Hello there")
        self.assertEqual(done.stdout.decode().rstrip("\n"), talk[1]["content"].rstrip("\n"))

    def test_reset_forgets(self):
        first = self.chat("Hello there\n").stdout
        again = self.chat("Something else\n/reset\nHello there\n").stdout
        self.assertTrue(again.endswith(first))


if __name__ == "__main__":
    TERN, MODEL = sys.argv[1:3]
    program.skip_without_table(TERN)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
