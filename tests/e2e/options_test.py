#!/usr/bin/env python3
"""The names and habits of people who come from llama.cpp and Ollama: what an option means is shown by what it does.

Usage: options_test.py TERN REPOSITORY [unittest arguments]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

import program  # noqa: F401

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from pseudo_terminal import Terminal  # noqa: E402

TERN, ROOT = "", ""


def tern(*arguments, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    return subprocess.run([TERN, *arguments], capture_output=True, timeout=120, **options)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.model = os.path.join(ROOT, "models/tern-tiny.gguf")

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def run_tern(self, *arguments, code=0, **options):
        done = tern(*arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def text(self, *arguments, figures=False, **options):
        """What is written after the prompt, by the likeliest tokens; `figures`: and how many tokens that prompt had."""
        done = self.run_tern("run", "-m", self.model, "--temp", "0", "-n", "12", "--no-display-prompt", *arguments, **options)
        if figures:
            answer = json.loads(done.stdout)
            return answer["prompt_tokens"], answer["text"]
        return done.stdout.decode()

    def refused(self, *arguments, expect, **options):
        done = self.run_tern(*arguments, code=2, **options)
        if "--json" in arguments:  # then a failure is an object there
            self.assertEqual(json.loads(done.stdout)["error"]["class"], "bad input")
        else:
            self.assertEqual(done.stdout, b"")
        for words in [expect] if isinstance(expect, str) else expect:
            self.assertIn(words, done.stderr.decode())


class LlamaCpp(Case):
    """Each row: options as llama.cpp spells them, and what does the same here. Both must do the same thing, and another than the
    default, so that a row that is only ignored fails."""

    SAME = (
        (["-p", "The cat sat"], ["The cat sat"], ["Once"]),
        (["--prompt", "The cat sat"], ["The cat sat"], ["Once"]),
        (["-r", "a", "Once"], ["--stop", "a", "Once"], ["Once"]),
        (["--reverse-prompt", "a", "Once"], ["--stop", "a", "Once"], ["Once"]),
        (["-l", "278-100", "Once"], ["--logit-bias", "278-100", "Once"], None),
        (["-sys", "Tom had a red truck.", "He"], ["--system", "Tom had a red truck.", "He"], ["He"]),
        (["--system-prompt", "Tom had a red truck.", "He"], ["--system", "Tom had a red truck.", "He"], ["He"]),
        (["-e", "Once\\nTwice\\tthrice"], ["Once\nTwice\tthrice"], ["Once\\nTwice\\tthrice"]),
        (["-n3", "Once"], ["-n", "3", "Once"], ["Once"]),
        (["--n-predict", "3", "Once"], ["-n", "3", "Once"], ["Once"]),
        (["-n", "-2", "-c", "32", "Once"], ["-n", "-1", "-c", "32", "Once"], ["Once"]),
    )

    def test_what_means_the_same(self):
        for theirs, ours, default in self.SAME:
            with self.subTest(theirs):
                self.assertEqual(self.text(*theirs), self.text(*ours))
                if default:
                    self.assertNotEqual(self.text(*theirs), self.text(*default))

    def test_no_conversation_is_raw(self):
        template = self.write("t.jinja", "{% for m in messages %}<{{ m.content }}>{% endfor %}")
        chat = ["--chat-template-file", template]
        self.assertEqual(self.text("-no-cnv", "Once upon", *chat), self.text("--raw", "Once upon", *chat))
        self.assertNotEqual(self.text("-no-cnv", "Once upon", *chat), self.text("Once upon", *chat))

    def test_files_of_system_message_and_template(self):
        system = self.write("system.txt", "A cat.\n")
        self.assertEqual(self.text("-sysf", system, "Once"), self.text("--system", "A cat.", "Once"))
        self.refused("run", "-m", self.model, "-sysf", system, "-sys", "x", "Once", expect="found both")

    def test_threads_of_a_prompt(self):
        done = self.run_tern("run", "-m", self.model, "-n", "1", "-tb", "1", "-t", "1", "Once")
        self.assertNotIn(b"no option", done.stderr)
        self.refused("run", "-m", self.model, "-tb", "b", "Once", expect="--threads-batch")

    def test_type_of_the_cache(self):
        small = self.run_tern("run", "-m", self.model, "-n", "1", "-ctk", "q8_0", "-ctv", "q8_0", "--json", "Once")
        self.assertEqual(small.stderr.count(b"one type"), 0)
        self.refused("run", "-m", self.model, "-ctk", "q3_0", "-ctv", "q3_0", "Once", expect=["f16 or q8_0", "q3_0"])
        self.refused("run", "-m", self.model, "-ctk", "q8_0", "-ctv", "f16", "Once", expect="one type")

    def test_draft_model(self):
        with_draft = json.loads(self.text("-md", self.model, "--draft-max", "3", "-n", "40", "--json", "Once upon a time"))
        self.assertGreater(with_draft["accepted_tokens"], 10)

    def test_models_of_the_hub(self):
        self.refused("run", "-hf", "nobody/nothing:Q4_K_M", "Once", expect=["nobody/nothing:Q4_K_M", "tern pull"])

    def test_conversation(self):
        done = self.run_tern("run", "-m", self.model, "-cnv", "-n", "4", "--temp", "0", input=b"/system\n",
                             env={**os.environ, "XDG_STATE_HOME": self.path("state")})
        self.assertIn(b"There is no system message", done.stderr)
        for option in ("-i", "--interactive-first", "--conversation"):
            self.run_tern("run", "-m", self.model, option, input=b"",
                          env={**os.environ, "XDG_STATE_HOME": self.path("state")})

    def test_what_has_no_effect_is_said_and_changes_nothing(self):
        plain = self.text("Once")
        done = self.run_tern("run", "-m", self.model, "--temp", "0", "-n", "12", "--no-display-prompt", "-ngl", "99", "--mlock",
                             "--no-mmap", "-fa", "on", "--numa", "distribute", "-b", "512", "-ub", "128", "--color", "--no-warmup",
                             "--keep", "4", "-sm", "layer", "--prio", "2", "Once")
        self.assertEqual(done.stdout.decode(), plain)
        notes = [line for line in done.stderr.decode().splitlines() if "no effect" in line]
        self.assertEqual(len(notes), 1)
        for name in ("-ngl", "--mlock", "--no-mmap", "-fa", "--numa", "-b", "-ub", "--color", "--no-warmup", "--keep", "-sm", "--prio"):
            self.assertIn(name, notes[0])

    def test_what_would_change_the_text_is_refused(self):
        for name, value in (("--grammar", "root ::= x"), ("--json-schema", "{}"), ("-j", "{}"), ("--samplers", "top_k"),
                            ("--typical", "0.5"), ("--mirostat", "2"), ("--rope-freq-base", "1e6"), ("--override-kv", "a=int:1"),
                            ("--image", "a.png"), ("--in-prefix", "x")):
            self.refused("run", "-m", self.model, name, value, "Once", expect=name + " is not supported here.")

    def test_counts_that_mean_automatic(self):
        for value in ("0", "-1"):
            self.assertEqual(self.text("-t", value, "Once"), self.text("Once"))
            self.run_tern("bench", "-m", self.model, "-p", "8", "-n", "0", "-r", "1", "-t", value)

    def test_the_last_one_counts(self):
        self.assertEqual(self.text("-n", "3", "-n", "5", "Once"), self.text("-n", "5", "Once"))
        self.assertEqual(self.text("--temp", "1", "--temp", "0", "-s", "1", "-s", "2", "Once"), self.text("Once"))
        text = self.text("Once")
        self.assertEqual(self.text("--stop", text[3], "--stop", text[5], "Once"),
                         text[:min(text.index(text[3]), text.index(text[5]))] + "\n")  # a list stays a list


class Ollama(Case):
    def test_run_takes_the_model_first(self):
        arguments = ["--temp", "0", "-n", "8", "--no-display-prompt"]
        named = self.run_tern("run", *arguments, self.model, "Once", "upon", "a", "time").stdout
        self.assertEqual(named, self.run_tern("run", *arguments, "-m", self.model, "Once upon a time").stdout)
        piped = self.run_tern("run", *arguments, self.model, input=b"Once upon a time").stdout
        self.assertEqual(named, piped)
        self.refused("run", self.path("none.gguf"), "Once", expect="none.gguf")

    def test_words_without_quotes_are_listed_in_order(self):
        self.refused("run", "-m", self.model, "Once", "upon", "a", "time", expect="found also: upon a time")

    def test_commands_by_their_other_names(self):
        self.assertEqual(self.run_tern("show", self.model).stdout, self.run_tern("inspect", self.model).stdout)
        self.assertEqual(self.run_tern("ls").stdout, self.run_tern("list").stdout)
        self.assertEqual(self.run_tern("version").stdout, self.run_tern("--version").stdout)
        self.assertEqual(self.run_tern("help", "run").stdout, self.run_tern("run", "--help").stdout)
        self.assertEqual(self.run_tern("help").stdout, self.run_tern("--help").stdout)
        self.refused("ps", expect="no command ps")
        self.refused("rnu", expect="Did you mean run?")

    def test_an_empty_name(self):
        self.refused("pull", "", expect="empty")
        self.refused("rm", "", expect="empty")
        self.refused("inspect", "", expect="empty")
        self.refused("run", "-m", "", "Once", expect="-m: expected a value")


class Prompts(Case):
    def test_streams_and_marks(self):
        plain = self.text("--json", "Once upon a time", figures=True)
        file = self.write("prompt.txt", b"\xef\xbb\xbfOnce upon a time\n")
        self.assertEqual(self.text("--json", "-f", file, figures=True), plain)
        self.assertEqual(self.text("--json", "-f", "-", input=b"Once upon a time\n", figures=True), plain)
        self.assertEqual(self.text("--json", "-f", "/dev/stdin", input=b"Once upon a time\n", figures=True), plain)
        reading, writing = os.pipe()  # as <(...) hands over its text
        os.write(writing, b"Once upon a time\n")
        os.close(writing)
        self.assertEqual(self.text("--json", "-f", f"/dev/fd/{reading}", pass_fds=(reading,), figures=True), plain)
        os.close(reading)
        self.assertEqual(self.text("--json", input=b"\xef\xbb\xbfOnce upon a time\r\n", figures=True), plain)

    def test_the_token_that_begins_a_text_comes_once(self):
        model = os.path.join(ROOT, "tests/golden/models/llama-f32.gguf")
        for prompt in ("<|begin_of_text|>hi", "<|begin_of_text|><|begin_of_text|>hi"):
            done = self.run_tern("run", "--raw", "-n", "1", "-m", model, "--json", prompt)
            self.assertEqual(json.loads(done.stdout)["prompt_tokens"], 3)  # begin, h, i
            self.assertIn(b"the one that you wrote is left out", done.stderr)
        ids = self.run_tern("tokenize", "-m", model, "--ids", "<|begin_of_text|>hi")
        self.assertEqual(ids.stdout, self.run_tern("tokenize", "-m", model, "--ids", "hi").stdout)
        self.assertIn(b"left out", ids.stderr)
        plain = self.run_tern("run", "--raw", "-n", "1", "-m", model, "--json", "hi")
        self.assertNotIn(b"left out", plain.stderr)
        self.assertEqual(json.loads(plain.stdout)["prompt_tokens"], 3)

    def test_a_prompt_that_fills_the_context_is_served(self):
        template = ["run", "-m", self.model, "--temp", "0", "--raw", "--json"]
        length = json.loads(self.run_tern(*template, "-n", "0", "Once upon a time there was").stdout)["prompt_tokens"]
        prompt = "Once upon a time there was"
        while length < 16:
            prompt += " a"
            length = json.loads(self.run_tern(*template, "-n", "0", prompt).stdout)["prompt_tokens"]
        self.assertEqual(length, 16)
        for count, tokens, reason in (("0", 0, "length"), ("1", 1, "length"), ("-1", 1, "context full")):
            done = json.loads(self.run_tern(*template, "-c", "16", "-n", count, "--ignore-eos", prompt).stdout)
            self.assertEqual((done["completion_tokens"], done["stop_reason"]), (tokens, reason))
        first = json.loads(self.run_tern(*template, "-c", "64", "-n", "1", "--ignore-eos", prompt).stdout)["text"]
        self.assertEqual(json.loads(self.run_tern(*template, "-c", "16", "-n", "1", "--ignore-eos", prompt).stdout)["text"], first)
        self.refused(*template, "-c", "16", "-n", "0", prompt + " a", expect=["has 17 tokens", "room for 16"])

    def test_templates(self):
        self.refused("run", "-m", self.model, "--chat-template", "nope", "x", expect=["nope", "chatml"])
        empty = self.write("empty.jinja", "\n")
        for option in ("--chat-template", "--chat-template-file"):
            self.refused("run", "-m", self.model, option, empty, "x", expect="empty")
            self.refused("run", "-m", self.model, option, self.path("none.jinja"), "x", expect="none.jinja")
        # A file of the folder does not hide a template of that name.
        builtin = self.text("--chat-template", "chatml", "Once")
        self.write("chatml", "{{ messages[0].content }}")
        self.assertEqual(self.text("--chat-template", "chatml", "Once", cwd=self.folder), builtin)

    def test_a_system_message_without_a_place_is_said(self):
        for more, words in ((["--raw"], b"left out"), ([], b"no chat template")):
            done = self.run_tern("run", "-m", self.model, "-n", "1", "--system", "S", *more, "Once")
            self.assertIn(words, done.stderr)

    def test_the_prompt_as_it_is_read(self):
        done = self.run_tern("run", "-m", self.model, "-n", "1", "--verbose-prompt", "Once upon")
        ids = re.findall(r"^ *(\d+) ", done.stderr.decode(), re.MULTILINE)
        expected = self.run_tern("tokenize", "-m", self.model, "--ids", "Once upon").stdout.split()
        self.assertEqual([int(each) for each in ids], [int(each) for each in expected])


class Output(Case):
    def test_the_seed_repeats_the_text(self):
        arguments = ["run", "-m", self.model, "-n", "16", "--temp", "1", "--json", "Once"]
        first = json.loads(self.run_tern(*arguments).stdout)
        again = json.loads(self.run_tern(*arguments, "-s", str(first["seed"])).stdout)
        self.assertEqual(first["text"], again["text"])
        said = self.run_tern("run", "-m", self.model, "-n", "1", "-v", "-s", "77", "Once").stderr
        self.assertIn(b"seed 77", said)

    def test_json_lines(self):
        done = self.run_tern("run", "-m", self.model, "-n", "12", "--temp", "0", "--json-lines", "Once")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertGreater(len(lines), 3)
        self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])
        self.assertEqual("".join(line["text"] for line in lines[:-1]), lines[-1]["text"])
        self.assertEqual(lines[-1]["text"] + "\n", self.text("Once"))

    def test_perplexity(self):
        text = self.write("text.txt", "Once upon a time there was a little girl who lived near the sea. " * 12)
        arguments = ["perplexity", "-m", self.model, "-c", "32", "--chunks", "2"]
        said = self.run_tern(*arguments, "-f", text).stdout.decode()
        with open(text, "rb") as file:
            piped = self.run_tern(*arguments, "-f", "-", "-o", "json", stdin=file).stdout
        found = json.loads(piped)
        self.assertIn(f"perplexity {found['perplexity']:.4f} +/- {found['perplexity_error']:.4f} ({found['nats_per_token']:.4f}", said)
        self.assertEqual((found["predictions"], found["context"], found["interrupted"]), (30, 32, False))
        logits = self.path("logits")
        self.run_tern(*arguments, "-f", text, "--save-logits", logits)
        same = json.loads(self.run_tern(*arguments, "-f", text, "--kl", logits, "-o", "json").stdout)
        self.assertEqual((same["kl_divergence"], same["same_top"], same["ratio"]), (0, 1, 1))

    def test_bench_beyond_the_context(self):
        arguments = ["bench", "-m", self.model, "-n", "0", "-r", "1", "-o", "json"]
        self.assertIn(b"beyond the context of 512", self.run_tern(*arguments, "-p", "600").stderr)
        self.assertNotIn(b"beyond", self.run_tern(*arguments, "-p", "100").stderr)

    def test_doctor_of_a_model(self):
        other = os.path.join(ROOT, "tests/golden/models/llama-f32.gguf")
        self.assertIn(other.encode(), self.run_tern("doctor", "-m", other).stdout)
        self.run_tern("doctor", "-m", self.path("none"), code=2)

    def test_help(self):
        shown = self.run_tern("run", "--help").stdout.decode()
        for part in ("Examples:", "Prompt:", "Choice of tokens:", "Other providers:", "Output:", "--temp"):
            self.assertIn(part, shown)
        for command in ("convert", "synth"):
            for line in self.run_tern(command, "--help").stdout.decode().lower().replace("\n" + 30 * " ", " ").splitlines():
                self.assertLessEqual(line.count("stq1_0"), 1)
        terminal = Terminal([TERN, "run", "--help"], columns=60)
        self.addCleanup(terminal.close)
        self.assertEqual(terminal.wait(), 0)
        lines = terminal.seen.decode().replace("\r", "").split("Examples:")[0].splitlines()
        self.assertGreater(len(lines), 100)
        self.assertLessEqual(max(len(line) for line in lines if len(line.split()) > 2), 60)

    def test_a_conversation_without_a_prompt_at_a_terminal(self):
        terminal = Terminal([TERN, "run", self.model], XDG_STATE_HOME=self.path("state"))
        self.addCleanup(terminal.close)
        terminal.expect("Ctrl-D leaves")


if __name__ == "__main__":
    TERN, ROOT = map(os.path.abspath, sys.argv[1:3])
    os.environ["XDG_CACHE_HOME"] = os.devnull
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
