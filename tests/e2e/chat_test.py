#!/usr/bin/env python3
"""Talks with `tern chat` as a person at a terminal does, and as a script does.

Usage: chat_test.py TERN REPOSITORY [unittest arguments]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import program  # noqa: F401

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from pseudo_terminal import Terminal, plain  # noqa: E402

TERN, ROOT = "", ""
# Where a new message is read: pastes are asked for, then the prompt is drawn. A line that is drawn again has no such beginning.
PROMPT = r"\x1b\[\?2004h[^>]*> "


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.model = os.path.join(ROOT, "models/tern-tiny.gguf")
        # Every message as one line of the prompt, so that what the model reads can be compared.
        self.template = self.path("plain.jinja")
        with open(self.template, "w") as file:
            file.write("{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}")

    def path(self, name):
        return os.path.join(self.folder, name)

    def arguments(self, *more):
        return [TERN, "chat", "-m", self.model, "-n", "6", "--temp", "0", "--chat-template-file", self.template, *more]

    def chat(self, text, *more, code=0):
        done = subprocess.run(self.arguments(*more), input=text.encode(), capture_output=True, timeout=120,
                              env={**os.environ, "XDG_STATE_HOME": self.path("state")})
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def saved(self):
        with open(self.path("talk.json")) as file:
            return [(message["role"], message["content"]) for message in json.load(file)]

    def said(self, text, *more):
        """What the user's messages are, by the conversation that is saved at the end."""
        if os.path.exists(self.path("talk.json")):
            os.unlink(self.path("talk.json"))
        self.chat(text + f"\n/save {self.path('talk.json')}\n", *more)
        return [content for role, content in self.saved() if role == "user"]


class Pipe(Case):
    def test_messages_of_several_lines(self):
        self.assertEqual(self.said('"""one\n two\n"""'), ["one\n two\n"])
        self.assertEqual(self.said('"""one"""'), ["one"])
        self.assertEqual(self.said("one\\\ntwo"), ["one\ntwo"])

    def test_blank_lines_ask_nothing(self):
        self.assertEqual(self.said("\n   \n\t\nHello\n\n"), ["Hello"])

    def test_marks_of_editors_are_no_text(self):
        self.assertEqual(self.said("\ufeffHello\r"), ["Hello"])

    def test_first_message_from_the_command_line(self):
        self.assertEqual(self.said("there", "-p", "Hello"), ["Hello", "there"])
        done = self.chat("not read\n", "-st", "-p", "Hello")
        once = self.chat("Hello\n")
        self.assertEqual(done.stdout, once.stdout)

    def test_system_shows_and_sets(self):
        done = self.chat("/system\n/system Be brief.\n/system\n/show system\n")
        lines = done.stderr.decode().splitlines()
        self.assertIn("There is no system message; /system TEXT sets one.", lines)
        self.assertEqual(lines.count("Be brief."), 2)

    def test_settings(self):
        done = self.chat("/set temp 0.5\n/set parameter top_k 7\n/set num_predict 3\n/show\n/set tmep 1\n/set temp hot\n"
                         "/set num_ctx 99\n/set\n")
        said = done.stderr.decode()
        self.assertIn("temp 0.5, top_k 7, ", said)
        self.assertIn("predict 3, ", said)
        self.assertIn("Did you mean temp?", said)
        self.assertIn("/set: ", said)
        self.assertIn("-c 99", said)
        # What is set is used: one word instead of six.
        short = self.chat("/set num_predict 1\nHello\n").stdout
        self.assertLess(len(short), len(self.chat("Hello\n").stdout))

    def test_unknown_commands_suggest(self):
        said = self.chat("/sytem x\n/usr/bin is a folder\n").stderr.decode()
        self.assertIn("no command /sytem. Did you mean /system?", said)
        self.assertIn("needs a blank before it", said)
        self.assertEqual(self.said(" /usr/bin is a folder"), [" /usr/bin is a folder"])

    def test_load_a_conversation_and_a_model(self):
        with open(self.path("old.json"), "w") as file:
            json.dump([{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
                       {"role": "assistant", "content": "A"}], file)
        self.assertEqual(self.said(f"/load {self.path('old.json')}\nHello"), ["U", "Hello"])
        self.assertEqual(self.saved()[0], ("system", "S"))
        with open(self.path("bad.json"), "w") as file:
            file.write('[{"role": 5}]')
        said = self.chat(f"/load {self.path('bad.json')}\n/load {self.path('none.gguf')}\n/load {self.model}\n").stderr.decode()
        self.assertIn("expected a list of messages", said)
        self.assertIn("none.gguf", said)
        self.assertIn("The conversation starts anew.", said)

    def test_the_oldest_turns_make_room(self):
        """Twenty turns in a context of 128 tokens: all are answered, and what the model reads is the newest turns as the template
        puts them, with the system message before them."""
        text = "".join(f"Message {i} about the cat.\n" for i in range(20))
        done = self.chat(text + "/set verbose\n", "-c", "128", "--system", "Be kind.", "--verbose-prompt")
        said = done.stderr.decode()
        self.assertEqual(said.count("the oldest turns are forgotten"), 1)
        self.assertNotIn("error", said)
        prompts = said.split("prompt of ")[1:]
        self.assertGreaterEqual(len(prompts), 20)
        for prompt in prompts:
            self.assertLessEqual(int(prompt.split()[0]), 128)
        last = "".join(line.split(" ", 1)[1] for line in
                       (line.strip() for line in prompts[-1].splitlines()[1:] if line.strip()[:1].isdigit()))
        self.assertIn("system", last)
        self.assertIn("19", last)
        self.assertNotIn("Message▁0▁", last)

        refused = self.chat(text, "-c", "128", "--no-context-shift", code=2).stderr.decode()
        self.assertIn("the context has room for 128", refused)

    def test_a_long_answer_goes_on_past_the_end_of_the_context(self):
        done = self.chat("One.\nTwo.\nThree.\n", "-c", "64", "-n", "60", "--ignore-eos")
        said = done.stderr.decode()
        self.assertIn("the oldest turns are forgotten", said)
        self.assertNotIn("error", said)

    def test_a_template_that_refuses_more_turns(self):
        with open(self.path("once.jinja"), "w") as file:
            file.write("{% if messages|length > 2 %}{{ raise_exception('only one turn') }}{% endif %}"
                       "{% for m in messages %}{{ m.content }}{% endfor %}")
        said = self.chat("One\nTwo\n/reset\nThree\n", "--chat-template-file", self.path("once.jinja"), code=2).stderr.decode()
        self.assertIn("only one turn", said)
        self.assertIn("/reset starts the conversation anew", said)
        self.assertEqual(said.count("error:"), 1)

    def test_a_place_for_the_system_message(self):
        with open(self.path("none.jinja"), "w") as file:
            file.write("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}")
        with_system = self.chat("Hello\n", "--chat-template-file", self.path("none.jinja"), "--system", "S").stderr.decode()
        without = self.chat("Hello\n", "--chat-template-file", self.path("none.jinja")).stderr.decode()
        self.assertEqual(with_system.count("no place for a system message"), 1)
        self.assertNotIn("system", without)

    def test_embedding_models_do_not_talk(self):
        model = os.path.join(ROOT, "tests/golden/published/bitnet-embedding-0.6b.gguf")
        if not os.path.exists(model):
            self.skipTest(f"{model} is not there")
        for command in ("chat", "run"):
            done = subprocess.run([TERN, command, "-m", model, "-n", "2"], input=b"hi\n", capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout, b"")
            self.assertIn(b"embedding model", done.stderr)
            self.assertIn(b"tern embed", done.stderr)


class AtTheTerminal(Case):
    def start(self, *more, **environment):
        terminal = Terminal(self.arguments(*more), XDG_STATE_HOME=self.path("state"), **environment)
        self.addCleanup(terminal.close)
        self.banner = terminal.expect(PROMPT)
        return terminal

    def leave(self, terminal):
        terminal.type(f"/save --force {self.path('talk.json')}\r")
        terminal.expect("messages written")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        self.assertEqual(terminal.wait(), 0)
        return [content for role, content in self.saved() if role == "user"]

    def type_and_leave(self, *texts, **environment):
        terminal = self.start(**environment)
        for text in texts:
            terminal.type(text)
            terminal.expect("\n")
            terminal.expect(PROMPT)
        return self.leave(terminal)

    def test_banner(self):
        terminal = self.start("-c", "256")
        for part in ("tern-tiny.gguf", "context of 256 tokens", "chat template", "/help", "Ctrl-D"):
            self.assertIn(part, self.banner)
        terminal.type("Hello\r")
        terminal.expect(r"> .*\d+/256")  # how much of it is used, at the right edge
        terminal.type("\x03")
        terminal.expect("Ctrl-D or /exit leaves")

    def test_a_paste_of_three_lines_is_one_message(self):
        self.assertEqual(self.type_and_leave("\x1b[200~one\rtwo\rthree\x1b[201~\r"), ["one\ntwo\nthree"])

    def test_a_paste_into_a_line(self):
        self.assertEqual(self.type_and_leave("a z\x1b[D\x1b[200~b\r\tc\x1b[201~\r"), ["a b\n\tcz"])

    def test_keys_without_a_meaning_type_nothing(self):
        keys = "\x1b[15~\x1b[5~\x1b[6~\x1b[2~\x1bOP\x1b[[A\x1b[24;5~"
        self.assertEqual(self.type_and_leave("a" + keys + "b\r"), ["ab"])

    def test_keys_that_move(self):
        self.assertEqual(self.type_and_leave("one two\x1b[1;5D_\x1b[1;5D\x1b[1;5D>\x1b[F<\x1b[H(\r"), ["(>one _two<"])
        self.assertEqual(self.type_and_leave("abc\x1b[D\x1b[D\x1b[3~\r"), ["ac"])

    def test_characters_of_any_width(self):
        for locale in ("C.UTF-8", "C"):
            self.assertEqual(self.type_and_leave("漢字é😀x\x7f\x7f!\r", LC_ALL=locale), ["漢字é!"])

    def test_lines_break_between_words(self):
        text = self.chat("Hello\n", "-n", "40").stdout.decode()
        terminal = Terminal(self.arguments("-n", "40"), columns=30, XDG_STATE_HOME=self.path("state"))
        self.addCleanup(terminal.close)
        terminal.expect(PROMPT)
        terminal.type("Hello\r")
        terminal.expect("Hello.*?\n")
        shown = plain(terminal.expect(PROMPT)).replace("\r", "").rsplit("> ", 1)[0]
        lines = [line.rstrip() for line in shown.split("\n")]
        self.assertEqual(" ".join(shown.split()), " ".join(text.split()))
        self.assertGreater(len(lines), 3)
        self.assertLessEqual(max(map(len, lines)), 30)

    def test_tab_completes_commands(self):
        terminal = self.start()
        terminal.type("/sy\t\r")
        terminal.expect("There is no system message")
        terminal.expect(PROMPT)
        terminal.type("/s\t")
        shown = plain(terminal.expect("/show"))
        self.assertIn("/system", shown + plain(terminal.expect(r"/save.*> ")))

    def test_history_holds_whole_messages(self):
        first = self.type_and_leave("\x1b[200~one\rtwo\x1b[201~\r")
        again = self.type_and_leave("\x10\x10\r")  # twice up: over the /save of before
        self.assertEqual(first, again)

    @unittest.skipUnless(shutil.which("bash"), "needs bash for its job control")
    def test_stops_and_resumes(self):
        terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], XDG_STATE_HOME=self.path("state"), PS1="shell$ ")
        self.addCleanup(terminal.close)
        terminal.expect(r"shell\$ ")
        terminal.type(" ".join(f"'{word}'" for word in self.arguments()) + "\r")
        terminal.expect("Ctrl-D leaves")
        terminal.expect(PROMPT)
        terminal.type("begun\x1a")
        terminal.expect("Stopped")
        terminal.expect(r"shell\$ ")
        terminal.type("fg\r")
        terminal.expect("begun")
        terminal.type(" ended\r")
        terminal.expect("\n")
        terminal.expect(PROMPT)
        terminal.type(f"/save {self.path('talk.json')}\r")
        terminal.expect("messages written")
        self.assertEqual(self.saved()[0], ("user", "begun ended"))


if __name__ == "__main__":
    TERN, ROOT = map(os.path.abspath, sys.argv[1:3])
    os.environ["XDG_CACHE_HOME"] = os.devnull
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
