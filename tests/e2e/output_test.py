#!/usr/bin/env python3
"""Where tern writes its results: pipes, devices, links, files that exist, full disks; and what reaches a terminal.

Usage: output_test.py TERN MODEL REPOSITORY [unittest arguments]

Device nodes are our own, in temporary folders: a fault must not cost the machine its /dev/full.
"""

import http.server
import json
import os
import pty
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import unittest

import program  # noqa: F401: keeps the user's environment out

TERN = MODEL = REPOSITORY = ""
# What a terminal may obey, but for line ends (the terminal's driver adds \r to \n).
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HOSTILE = "a\x1b]0;PWNED\x07b\x1b]52;c;cHduZWQ=\x07\x1b[31mc\u202etxt\u2066\u009b31m\x7f\r\x08Ti\u1ebfng"


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tern-output-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("TERN_", "XDG_", "OPENAI_", "HF_")) or k == "TERN_ISA"}
        self.environment["HOME"] = self.path("home")
        os.mkdir(self.path("home"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data, mode=0o644):
        with open(self.path(name), "wb") as file:
            file.write(data)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def tern(self, *arguments, code=0, **options):
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("env", self.environment)
        done = subprocess.run([TERN, *arguments], stderr=subprocess.PIPE, timeout=120, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def on_terminal(self, *arguments, code=0, **options):
        """Standard output on a terminal, the rest not: what came there, and standard error."""
        master, slave = pty.openpty()
        chunks = []

        def drain():
            try:
                while block := os.read(master, 1 << 16):
                    chunks.append(block)
            except OSError:  # the other side is closed
                pass

        reader = threading.Thread(target=drain)
        reader.start()
        try:
            done = self.tern(*arguments, code=code, stdout=slave, **options)
        finally:
            os.close(slave)
            reader.join(60)
            os.close(master)
        return b"".join(chunks).decode().replace("\r\n", "\n"), done.stderr.decode()

    def assert_plain(self, *texts):
        for text in texts:
            self.assertIsNone(CONTROLS.search(text), ascii(text))

    def node(self, name, like):
        """A device node as `like`, or None where it cannot be made or used."""
        try:
            os.mknod(self.path(name), stat.S_IFCHR | 0o666, os.stat(like).st_rdev)
            os.close(os.open(self.path(name), os.O_WRONLY))
        except OSError:
            return None
        return self.path(name)


class Outputs(Case):
    """Each command that writes a result, with a small one. `{}` stands for the file."""

    @classmethod
    def setUpClass(cls):
        golden = os.path.join(REPOSITORY, "tests/golden")
        cls.commands = {
            "logits": ["logits", "-m", MODEL, "--tokens", "1,2", "-o", "{}"],
            "save-logits": ["perplexity", "-m", MODEL, "-f", "{text}", "-c", "16", "--chunks", "1", "--save-logits", "{}"],
            "log-samples": ["eval", "-m", MODEL, "--task", "lambada", "-f", "{items}", "--log-samples", "{}"],
            "convert": ["convert", os.path.join(golden, "models/bitnet-25-i2_s.gguf"), "{}", "--type", "f32"],
            "synth": ["synth", "--shape", "small", "--type", "i2_s", "-o", "{}"],
        }

    def setUp(self):
        super().setUp()
        self.write("text", b"Once upon a time there was a little dog who liked to run. " * 8)
        self.write("items", json.dumps({"text": "The dog ran to the big house"}).encode() + b"\n")

    def command(self, name, output, *more):
        places = {"{}": output, "{text}": self.path("text"), "{items}": self.path("items")}
        return [places.get(word, word) for word in self.commands[name]] + list(more)

    def test_standard_output_and_pipes_get_what_a_file_gets(self):
        for name in ("logits", "save-logits", "log-samples", "convert"):
            with self.subTest(name):
                self.tern(*self.command(name, self.path(name)))
                expected = self.read(name)
                self.assertGreater(len(expected), 10)
                self.assertEqual(self.tern(*self.command(name, "-")).stdout, expected)
                self.assertEqual(self.tern(*self.command(name, "/dev/stdout")).stdout, expected)
                with open(self.path("redirected"), "wb") as out:
                    out.write(b"before ")
                    out.flush()
                    self.tern(*self.command(name, "/dev/stdout"), stdout=out)
                self.assertEqual(self.read("redirected"), b"before " + expected)
                os.mkfifo(self.path("fifo"))
                read = []
                reader = threading.Thread(target=lambda: read.append(self.read("fifo")))
                reader.start()
                self.tern(*self.command(name, self.path("fifo")))
                reader.join(60)
                self.assertEqual(read, [expected])
                self.assertTrue(stat.S_ISFIFO(os.stat(self.path("fifo")).st_mode))
                os.remove(self.path("fifo"))
                with open(self.path("errors"), "wb") as errors:
                    subprocess.run([TERN, *self.command(name, "/dev/stderr")], stdin=subprocess.DEVNULL, stderr=errors,
                                   stdout=subprocess.DEVNULL, timeout=120, env=self.environment, check=True)
                self.assertIn(expected, self.read("errors"))
        self.assertFalse(os.path.exists("-"))

    def test_files_with_content_need_force(self):
        for name in self.commands:
            with self.subTest(name):
                target = self.write("target", b"precious", 0o640)
                os.path.lexists(self.path("link")) or os.symlink("target", self.path("link"))
                for way in (target, self.path("link")):
                    done = self.tern(*self.command(name, way), code=2)
                    self.assertIn(b"--force", done.stderr)
                    self.assertEqual(done.stdout, b"")
                self.assertEqual(self.read("target"), b"precious")
                self.tern(*self.command(name, self.path("link"), "--force"))
                self.assertNotEqual(self.read("target"), b"precious")
                self.assertTrue(os.path.islink(self.path("link")))
                self.assertEqual(stat.S_IMODE(os.stat(target).st_mode), 0o640)
                self.write("target", b"")  # as mktemp makes it: there is nothing to lose
                self.tern(*self.command(name, target))
                self.assertGreater(len(self.read("target")), 10)

    def test_devices_stay_devices(self):
        null, full = self.node("null", "/dev/null"), self.node("full", "/dev/full")
        if null is None or full is None:
            self.skipTest("device nodes cannot be made here")
        for name in self.commands:
            with self.subTest(name):
                self.tern(*self.command(name, null, "--force"))
                done = self.tern(*self.command(name, full, "--force"), code=2)
                self.assertIn(b"No space left", done.stderr)
                for node in (null, full):
                    self.assertTrue(stat.S_ISCHR(os.lstat(node).st_mode))

    def test_a_full_disk_leaves_the_old_file(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        for name in ("logits", "save-logits", "convert"):
            with self.subTest(name):
                self.write("target", b"precious")
                before = sorted(os.listdir(self.folder))
                done = self.tern(*self.command(name, self.path("target"), "--force"), code=2, preexec_fn=limit,
                                 restore_signals=False)
                self.assertIn(b"cannot write", done.stderr)
                self.assertEqual(self.read("target"), b"precious")
                self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_links_of_others_in_sticky_folders(self):
        try:
            with open("/proc/sys/fs/protected_symlinks") as file:
                protected = file.read().strip() == "1"
        except OSError:
            protected = False
        if not protected or os.geteuid() != 0:
            self.skipTest("needs root, and a system that protects links in sticky folders (fs.protected_symlinks)")
        os.mkdir(self.path("sticky"))
        os.chmod(self.path("sticky"), 0o1777)
        victim = self.write("victim", b"")
        for name, target in (("link", victim), ("dangling", self.path("new"))):
            link = self.path("sticky/" + name)
            os.symlink(target, link)
            os.lchown(link, 65534, 65534)
            self.tern(*self.command("logits", link, "--force"), code=2)
            self.assertTrue(os.path.islink(link))
        self.assertEqual(self.read("victim"), b"")
        self.assertFalse(os.path.exists(self.path("new")))

    def test_what_cannot_be_written(self):
        os.mkdir(self.path("folder"))
        for target, words in ((self.path("folder"), b"directory"), (self.path("no/such"), b"No such file"),
                              ("", b"empty"), (self.path("a\x1b[31m"), b"\\x1B[31m")):
            done = self.tern(*self.command("logits", target), code=2)
            self.assertIn(words, done.stderr)
            self.assert_plain(done.stderr.decode())
        self.write("readonly", b"", 0o444)
        if os.geteuid() != 0:
            self.tern(*self.command("logits", self.path("readonly")), code=2)


class Conversations(Case):
    def chat(self, text):
        return subprocess.run([TERN, "chat", "-m", MODEL, "-n", "4", "--temp", "0"], input=text.encode(), capture_output=True,
                              timeout=120, env=self.environment)

    def test_saved_ones_are_private_and_stay_so(self):
        talk = self.path("talk.json")
        done = self.chat(f"Hello\n/save {talk}\n")
        self.assertEqual(stat.S_IMODE(os.stat(talk).st_mode), 0o600)
        first = self.read("talk.json")
        done = self.chat(f"Good morning\n/save {talk}\n")
        self.assertIn(b"--force", done.stderr)
        self.assertEqual(self.read("talk.json"), first)
        os.chmod(talk, 0o640)
        self.chat(f"Good morning\n/save --force {talk}\n")
        self.assertEqual(json.loads(self.read("talk.json"))[0]["content"], "Good morning")
        self.assertEqual(stat.S_IMODE(os.stat(talk).st_mode), 0o640)  # as the user made it

    def test_folders_of_the_user_are_private(self):
        self.tern("tune", "--reset")
        self.tern("run", "-m", MODEL, "--route", "auto", "-n", "1", "--allow-remote", "Once")
        state = self.path("home/.local/state/tern")
        self.assertEqual(stat.S_IMODE(os.stat(state).st_mode), 0o700)


class StandardOutput(Case):
    COMMANDS = (["--help"], ["--version"], ["run", "--help"], ["doctor", "--help"], ["list", "--all"],
                ["inspect", "MODEL"], ["inspect", "MODEL", "--json"], ["tokenize", "-m", "MODEL", "hello"],
                ["run", "-m", "MODEL", "-n", "1", "Once"], ["embed", "-m", "MODEL", "x"], ["remote", "providers"],
                ["cost", "--plan", "--tokens", "1M"])

    def test_a_full_disk_is_an_error(self):
        full = self.node("full", "/dev/full")
        if full is None:
            self.skipTest("device nodes cannot be made here")
        for command in self.COMMANDS:
            with self.subTest(command), open(full, "wb", buffering=0) as out:
                done = self.tern(*[MODEL if word == "MODEL" else word for word in command], code=3, stdout=out)
                self.assertIn(b"cannot write", done.stderr)

    def test_a_closed_one_is_an_error_and_no_other_file(self):
        done = self.tern("--version", code=3, preexec_fn=lambda: os.close(1))
        self.assertIn(b"cannot write", done.stderr)
        # The file of logits must not get the number of standard output, where text goes.
        self.tern("perplexity", "-m", MODEL, "-f", self.write("text", b"Once upon a time. " * 40), "-c", "16", "--chunks", "1",
                  "--save-logits", self.path("a"), code=3, preexec_fn=lambda: os.close(1))
        self.tern("perplexity", "-m", MODEL, "-f", self.path("text"), "-c", "16", "--chunks", "1",
                  "--save-logits", self.path("b"))
        self.assertEqual(self.read("a"), self.read("b"))


class Reading(Case):
    def test_streams_where_they_make_sense(self):
        text = b"Once upon a time there was a little dog who liked to run. " * 8
        plain = self.write("plain", text)
        expected = self.tern("tokenize", "-m", MODEL, "-f", plain, "--ids").stdout
        self.assertEqual(self.tern("tokenize", "-m", MODEL, "-f", "-", "--ids", input=text).stdout, expected)
        self.assertEqual(self.tern("tokenize", "-m", MODEL, "-f", "/dev/stdin", "--ids", input=text).stdout, expected)
        os.mkfifo(self.path("fifo"))

        def feed():
            with open(self.path("fifo"), "wb") as file:
                file.write(text)

        writer = threading.Thread(target=feed)
        writer.start()
        self.assertEqual(self.tern("tokenize", "-m", MODEL, "-f", self.path("fifo"), "--ids").stdout, expected)
        writer.join(60)
        figures = self.tern("perplexity", "-m", MODEL, "-f", "-", "-c", "16", "--chunks", "2", input=text).stdout
        self.assertEqual(self.tern("perplexity", "-m", MODEL, "-f", plain, "-c", "16", "--chunks", "2").stdout, figures)

    def test_pipes_where_files_are_meant_do_not_hang(self):
        os.mkfifo(self.path("x.gguf"))
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("folder/config.json"))
        for model in ("x.gguf", "folder"):
            self.tern("inspect", self.path(model), code=2)
        os.makedirs(self.path("home/.cache/tern"))
        os.mkfifo(self.path("home/.cache/tern/tune.json"))
        self.assertIn(b"tune.json", self.tern("run", "-m", MODEL, "-n", "1", "Once").stderr)
        os.makedirs(self.path("home/.config/tern"))
        os.mkfifo(self.path("home/.config/tern/config.json"))
        self.tern("remote", "providers", code=2)


class Hostile(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuse:
            body = json.dumps({"error": {"message": HOSTILE, "code": HOSTILE}}).encode()
            self.send_response(400)
        else:
            events = [{"model": HOSTILE, "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in HOSTILE]
            events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            # In ASCII, so that each piece is whole JSON.
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Terminal(Case):
    def serve(self, refuse=False):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
        server.refuse = refuse
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(lambda: (server.shutdown(), thread.join(), server.server_close()))
        self.environment.update(OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1",
                                OPENAI_API_KEY="sk-0123456789abcdefghij", NO_PROXY="*")
        return ["--route", "openai", "--allow-remote", "-m", "m"]

    def test_answers(self):
        route = self.serve()
        shown, messages = self.on_terminal("run", *route, "hi")
        self.assert_plain(shown, messages)
        self.assertIn("a\\x1B]0;PWNED\\x07b", shown)
        self.assertIn("\\u202Etxt", shown)
        self.assertIn("Ti\u1ebfng", shown)
        shown, messages = self.on_terminal("chat", *route, input=b"hi\n")
        self.assert_plain(shown, messages)
        self.assertIn("\\x1B[31m", shown)
        self.assertIn(HOSTILE, self.on_terminal("run", *route, "--raw-output", "hi")[0])
        # Pipes stay exact.
        self.assertTrue(self.tern("run", *route, "hi").stdout.decode().startswith(HOSTILE))
        self.assertEqual(json.loads(self.tern("run", *route, "--json", "hi").stdout)["text"], HOSTILE)
        # JSON on a terminal holds the same values.
        shown, _ = self.on_terminal("run", *route, "--json", "hi")
        self.assert_plain(shown)
        self.assertEqual(json.loads(shown)["text"], HOSTILE)

    def test_refusals(self):
        route = self.serve(refuse=True)
        messages = self.tern("run", *route, "hi", code=2).stderr.decode()
        self.assert_plain(messages)
        self.assertIn("PWNED", messages)

    def test_files(self):
        with open(MODEL, "rb") as file:
            model = file.read()
        for old in (b"bitnet-b1.58", b"gpt2"):
            bad = old[:-3] + b"\x1b[m"
            self.write("bad.gguf", model.replace(old, bad))
            for command in (["run", "-m", self.path("bad.gguf"), "-n", "1", "x"], ["inspect", self.path("bad.gguf")]):
                process = subprocess.run([TERN, *command], stdin=subprocess.DEVNULL, capture_output=True, env=self.environment)
                self.assert_plain(process.stdout.decode(), process.stderr.decode())
        template = self.write("t.jinja", b"{{ raise_exception('\x1b]0;x\x07 \xc2\x9b31m') }}")
        syntax = self.write("u.jinja", b"{{ '\x1b[31m' \x1b }}")
        for given in (template, syntax):
            process = subprocess.run([TERN, "run", "-m", MODEL, "--chat-template", given, "-n", "1", "x"],
                                     stdin=subprocess.DEVNULL, capture_output=True, env=self.environment)
            self.assertIn(b"\\x1B", process.stderr)
            self.assert_plain(process.stderr.decode())

    def test_tokens_of_a_model(self):
        # The vocabulary has every byte, so that any model may write an escape character; here it must.
        escape = self.tern("tokenize", "-m", MODEL, "--ids", "--no-bos", "-f", "-", input=b"\x1b").stdout.split()
        self.assertEqual(len(escape), 1)
        command = ["run", "-m", MODEL, "-n", "3", "--temp", "0", "--logit-bias", escape[0].decode() + "+1000", "Once"]
        self.assertIn(b"\x1b\x1b\x1b", self.tern(*command).stdout)
        shown, messages = self.on_terminal(*command)
        self.assert_plain(shown, messages)
        self.assertIn("\\x1B\\x1B\\x1B", shown)
        self.assertIn("\x1b\x1b\x1b", self.on_terminal(*command, "--raw-output")[0])

    def test_a_prompt_that_is_repeated(self):
        prompt = self.write("prompt", HOSTILE.encode())
        shown, messages = self.on_terminal("run", "-m", MODEL, "-n", "1", "--raw", "-f", prompt)
        self.assert_plain(shown, messages)

    def test_arguments(self):
        word = "a\x1b]0;PWNED\x07\u202e"
        for command in ([word], ["run", "--" + word], ["run", "-m", word, "x"], ["run", "-c", word, "x"],
                        ["inspect", word], ["pull", word], ["rm", word], ["convert", word, word, "--type", word],
                        ["run", "--route", word, "x"], ["bench", "-o", word], ["run", "--isa", word, "x"]):
            with self.subTest(command):
                done = self.tern(*command, code=2)
                self.assert_plain(done.stderr.decode())


class Source(unittest.TestCase):
    def test_one_place_writes_to_the_standard_streams(self):
        # Messages that went another way would reach the terminal as a file or a server wrote them. The line editor owns its line.
        wrong = re.compile(r"std::(printf|puts|putchar|cout|cerr|clog|perror)\b|f(printf|puts|write|putc)\([^;]*?\bstd(out|err)\b")
        own = {"console.cpp", "line_editor.cpp"}
        seen = 0
        for folder in ("tools", "remote", "engine/session", "engine/arch", "engine/model", "engine/io", "engine/run"):
            for name in sorted(os.listdir(os.path.join(REPOSITORY, folder))):
                if name.endswith((".cpp", ".h")) and name not in own:
                    with open(os.path.join(REPOSITORY, folder, name)) as file:
                        found = wrong.search(file.read())
                    self.assertIsNone(found, f"{folder}/{name}: {found and found.group()}: use tools/console.h")
                    seen += 1
        self.assertGreater(seen, 100)


if __name__ == "__main__":
    TERN, MODEL, REPOSITORY = sys.argv[1:4]
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
