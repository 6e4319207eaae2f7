#!/usr/bin/env python3
"""Every number that the command line takes: finite, decimal, whole where it must be, in its range, or an error that says so.

The options are those that `--help` lists, so that a new one without a range fails here.

    numbers_test.py path/to/tern path/to/small.gguf path/to/repository
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

import program

TERN = MODEL = ROOT = ""

# What help calls values that are numbers, and values that are something else.
NUMBERS = {"N", "N,...", "ID,ID,...", "INT", "UINT", "FLOAT", "SECONDS", "USD"}
OTHERS = {"BIAS", "BYTES", "FILE", "FILE...", "FILES", "FILE[:SCALE]", "FORMAT", "HEADER", "HEX", "IN/OUT", "JSON", "MODEL", "NAME", "NAME,...", "NAME|FILE",
          "N|auto", "OUT", "ROUTE", "TEXT", "TIME", "TYPE", "WHAT"}
BAD = ["nan", "-nan", "inf", "-inf", "infinity", "1e999", "-1e999", "0x10", "010", "5x", "x", "", " ", "5 ", "--5", "+-5", "1,5;",
       "99999999999999999999999", "-99999999999999999999999", "1e", ".", "٣"]
# Their values are read with the command's other work; what they need beside themselves to get there.
SPECIAL = {("cost", "--tokens"): ["--plan", "--speed", "9"]}


def tern(*arguments, **options):
    return subprocess.run([TERN, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **options)


def commands(*path):
    """The names of all commands, those within commands included."""
    text = tern(*path, "--help").stdout
    names = re.findall(r"^  ([a-z-]+) ", text[text.index("Subcommands:"):], re.M) if "Subcommands:" in text else []
    found = [path] if path and not names else []
    for name in names:
        found += commands(*path, name)
    return found


def options(command):
    """(names, what its value is called) of the options with a value; the longest name first."""
    for names, value in re.findall(r"^  (-[-\w,]+)(?: ([^\s=]+))?", tern(*command, "--help").stdout, re.M):
        if value and value not in ("Excludes:", "Needs:", "REQUIRED"):
            yield sorted(names.split(","), key=len, reverse=True), value.split(":{")[0]


class Numbers(unittest.TestCase):
    def refused(self, *arguments, says=(), one_of=("",)):
        done = tern(*arguments)
        self.assertTrue(any(words in done.stderr for words in one_of), (arguments, done.stderr))
        self.assertEqual((done.returncode, done.stdout), (2, ""), (arguments, done.stderr))
        for words in says:
            self.assertIn(words, done.stderr, arguments)

    def test_every_option_of_every_command(self):
        found = commands()
        self.assertGreater(len(found), 15)
        numbers = 0
        met = set()  # options that many commands have are declared in one place: all values are tried once
        for command in found:
            for names, value in options(command):
                name = names[0]
                self.assertIn(value, NUMBERS | OTHERS, f"{command} {name}: say in this test whether its value is a number")
                if value not in NUMBERS:
                    continue
                numbers += 1
                more = SPECIAL.get((command[0], name), [])
                bad_values = [bad for bad in BAD if not more or bad != "010"]  # no number of the machine: ten to all readers
                for bad in bad_values[::6] if (name, value) in met else bad_values:
                    with self.subTest(command=command, option=name, value=bad):
                        given = [f"{name}={bad}"] if bad else [name, bad]
                        self.refused(*command, *more, *given, says=["expected", "number"], one_of=[f"{each}: " for each in names])
                        if value in ("N,...", "ID,ID,..."):
                            for list_ in () if (name, value) in met else (f"1,{bad}", f"{bad},1", "1,,2", "1,", ",1", ","):
                                self.refused(*command, f"{name}={list_}", says=["expected", "number"])
                met.add((name, value))
                if value in ("N", "N,...", "ID,ID,...", "INT", "UINT") and not more:
                    self.refused(*command, f"{name}=1.5", says=["whole number from"])
                if not more:
                    self.refused(*command, f"{name}=-1e300", says=[" from ", " to "])
        self.assertGreater(numbers, 40)

    def test_values_with_a_number_in_them(self):
        for bad in BAD + ["1e7", "-1e7"]:
            self.refused("run", "-m", MODEL, "-n", "1", f"--logit-bias=5+{bad}", "x", says=["--logit-bias", "expected"])
            self.refused("run", "-m", MODEL, "-n", "1", f"--logit-bias={bad}+1", "x", says=["ogit", "expected"])
            self.refused("run", "-m", MODEL, "-n", "1", f"--lora=none:{bad}", "x", says=["--lora", "expected"])
            self.refused("run", "-m", MODEL, "-n", "1", f"--speculate={bad}", "x", says=["--speculate", "expected", "auto"])
            for shares in (f"{bad}/30", f"60/{bad}"):
                if not re.fullmatch("[0-9]+|1e7", bad):  # any size is a share of the sum
                    self.refused("cost", "--plan", "--speed", "9", f"--in-out={shares}", says=["--in-out", "expected"])
        self.refused("cost", "--plan", "--speed", "9", "--in-out=-1/2", says=["--in-out"])
        self.refused("cost", "--since=nand", says=["--since"])

    def test_tokens_beyond_the_vocabulary(self):
        for bias in ("99999+1", "4096-1"):
            self.refused("run", "-m", MODEL, "-n", "1", f"--logit-bias={bias}", "x", says=["from 0 to 4095", bias[:4]])
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "logits")
            self.refused("logits", "-m", MODEL, "--tokens", "4096", "-o", out, says=["4096"])
            self.refused("logits", "-m", MODEL, "--tokens", "-1", "-o", out, says=["expected"])
            self.assertEqual(os.listdir(folder), [])

    def test_the_ends_of_ranges(self):
        done = tern("run", "-m", MODEL, "-n", "2", "--temp", "0", "--top-p", "1", "--min-p=0", "--seed", "18446744073709551615",
                    "--repeat-last-n", "-1", "--presence-penalty=-0.5", "--frequency-penalty=+0.5", "--logit-bias", "4095-1",
                    "--threads", "1", "Once")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused("run", "--seed", "18446744073709551616", "x", says=["0 to 18446744073709551615"])
        self.refused("run", "--temp", "-0", "x", says=["from 0 to"])

    def test_settings(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "tern"))

            def says(file, content):
                for name in ("config.json", "providers.json"):
                    with open(os.path.join(folder, "tern", name), "w") as out:
                        out.write(content if name == file else "{}" if name == "config.json" else '{"providers": []}')
                done = tern("remote", "providers", env={**os.environ, "XDG_CONFIG_HOME": folder})
                self.assertEqual(done.returncode, 2, content)
                self.assertIn(file, done.stderr)

            for bad in ("NaN", "Infinity", "1e999", "-1", '"5"', "true", "1e300"):
                for name in ("offload_after", "deadline"):
                    says("config.json", '{"%s": %s}' % (name, bad))
                says("config.json", '{"budget": {"day": %s}}' % bad)
                says("config.json", '{"power": {"watts": %s}}' % bad)
                for name in self.numbers_of_providers():
                    says("providers.json", '{"providers": [{"name": "x", "base_url": "https://h", %s}]}' % (name % bad))
            says("providers.json", '{"providers": [{"name": "x", "base_url": "https://h", "retries": 18446744073709551615}]}')

    @staticmethod
    def numbers_of_providers():
        """Each number that the schema of providers.json knows, as a member with a place for its value."""
        with open(os.path.join(ROOT, "remote", "providers.schema.json"), encoding="utf-8") as file:
            schema = json.load(file)

        def walk(node, template):
            node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
            if node.get("type") in ("number", "integer"):
                yield template % "%s"
            for name, inner in node.get("properties", {}).items():
                yield from walk(inner, template % f'{{"{name}": %s}}')
            if isinstance(node.get("items"), dict):
                yield from walk(node["items"], template % "[%s]")

        found = []
        for name, inner in schema["definitions"]["provider"]["properties"].items():
            found += walk(inner, f'"{name}": %s')
        assert len(found) >= 3, found
        return found


if __name__ == "__main__":
    TERN, MODEL, ROOT = map(os.path.abspath, sys.argv[1:4])
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
