#!/usr/bin/env python3
"""How `tern` ends: exit codes, signals, closed pipes, failures as JSON, and what stands in the ledger afterwards.

    endings_test.py path/to/tern path/to/small.gguf path/to/repository
"""

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import termios
import time
import unittest

import program
import remote_test
from remote_test import KEY, priced

TERN = MODEL = SOURCE = ""
SLOW = {"text": "word " * 300, "pace": 0.05}


class Case(remote_test.Case):
    """The servers and the environment of remote_test.py; deepseek-v3.2 costs $1 and $2 a million tokens."""

    def setUp(self):
        super().setUp()
        self.providers(retries=0)

    def providers(self, **more):
        self.write("providers.json", {"providers": [
            {"name": "holysheep", "base_url": self.sheep.url, "models": [priced("deepseek-v3.2", 1, 2)], **more},
            {"name": "openai", "base_url": self.open.url, "retries": 0, "models": [priced("gpt-4.1", 2, 8)]}]})

    def sheep_run(self, *arguments):
        return ["run", "--provider", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi there", *arguments]

    def books(self):
        rows = json.loads(self.tern("cost", "--json")[0])
        return rows[0] if rows else None

    def ledger(self):
        return os.path.join(self.folder.name, "state", "tern", "remote.db")

    def failure(self, *arguments, code):
        """The one JSON object on stdout of a command that fails with --json."""
        out, err = self.tern(*arguments, "--json", code=code)
        error = json.loads(out)["error"]
        self.assertEqual(error["exit_code"], code)
        self.assertIn("error: " + error["message"].splitlines()[0], err)
        for name in ("class", "message", "provider", "status", "retry_after", "partial_text"):
            self.assertIn(name, error)
        return error


# "user" and "Hi there" have 12 bytes: 3 tokens at four bytes each, and 4 for what a template adds.
PROMPT = 7


class Signals(Case):
    def end_of_stream(self, end):
        """A run that a signal ends in the middle of a remote answer."""
        self.sheep.plays = [SLOW]
        process = self.start(*self.sheep_run())
        self.assertEqual(process.stdout.read(4), "word")
        process.send_signal(end)
        _, err = process.communicate(timeout=20)
        return process.returncode, err

    def test_each_ends_the_stream_and_settles_the_call(self):
        for number, (end, code) in enumerate(((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)), 1):
            returned, err = self.end_of_stream(end)
            self.assertEqual(returned, code, err)
            self.assertIn("(cancelled)", err)
            row = self.books()
            self.assertEqual((row["calls"], row["unsettled"], row["estimated"]), (number, 0, number))
            # What came is paid for, not the 131,072 tokens that it could have become.
            self.assertEqual(row["prompt_tokens"], number * PROMPT)
            self.assertLess(row["cost_usd"], number * 0.001)
            self.assertGreater(row["cost_usd"], number * PROMPT * 1e-6)
        self.wait_until(lambda: self.sheep.closed == 3)

    def wait_until(self, condition):
        for _ in range(200):
            if condition():
                return
            time.sleep(0.05)
        self.assertTrue(condition())

    def test_a_reader_that_goes_ends_it_quietly(self):
        self.sheep.plays = [SLOW]
        process = self.start(*self.sheep_run())
        self.assertEqual(process.stdout.read(4), "word")
        process.stdout.close()
        err = process.stderr.read()
        self.assertEqual(process.wait(timeout=20), 141, err)
        self.assertNotIn("error", err)
        row = self.books()
        self.assertEqual((row["unsettled"], row["prompt_tokens"]), (0, PROMPT))
        self.wait_until(lambda: self.sheep.closed == 1)

    def test_a_reader_that_goes_before_anything_came(self):
        self.sheep.plays = [{"text": "late", "delay": 30}]
        process = self.start(*self.sheep_run())
        self.wait_until(lambda: self.sheep.chats)
        process.stdout.close()
        began = time.time()
        self.assertEqual(process.wait(timeout=20), 141, process.stderr.read())
        self.assertLess(time.time() - began, 10)
        self.assertEqual(self.books()["prompt_tokens"], PROMPT)

    def test_a_local_run_too(self):
        process = self.start("run", "-m", MODEL, "-c", "8192", "--ignore-eos", "--isa", "portable", "Once upon a time")
        process.stdout.read(30)
        process.stdout.close()
        err = process.stderr.read()
        self.assertEqual(process.wait(timeout=60), 141, err)
        self.assertNotIn("error", err)

    def test_a_command_without_output_does_not_mind(self):
        out = os.path.join(self.folder.name, "out.gguf")
        process = self.start("synth", "--shape", "small", "--layers", "1", "-o", out)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
        self.assertTrue(os.path.exists(out))

    def test_every_long_command_says_130(self):
        text = os.path.join(self.folder.name, "text")
        with open(text, "w", encoding="utf-8") as file:
            file.write("Once upon a time there was a cat. " * 20000)
        items = os.path.join(self.folder.name, "items.jsonl")
        with open(items, "w", encoding="utf-8") as file:
            for _ in range(4000):
                file.write(json.dumps({"text": "Once upon a time there was a little cat in the house"}) + "\n")
        commands = [["tune"], ["perplexity", "-m", MODEL, "--isa", "portable", "-f", text],
                    ["eval", "-m", MODEL, "--isa", "portable", "--task", "lambada", "-f", items],
                    ["chat", "-m", MODEL, "--isa", "portable", "-c", "8192", "--ignore-eos"]]
        for command in commands:
            for end, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                process = self.start(*command, stdin=subprocess.PIPE)
                if command[0] == "chat":
                    process.stdin.write("Once upon a time\n")
                    process.stdin.flush()
                time.sleep(0.5)
                self.assertIsNone(process.poll(), command)
                process.send_signal(end)
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, code, (command, err))

    def test_chat_that_waits_for_input_ends_at_once(self):
        process = self.start("chat", "-m", MODEL, stdin=subprocess.PIPE)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=20), 130)
        process.communicate()

    def test_nohup_is_obeyed(self):
        self.sheep.plays = [{"text": "one two three four", "pace": 0.2}]
        process = self.start(*self.sheep_run(), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertEqual(process.stdout.read(3), "one")
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out), (0, " two three four\n"), err)

    def test_the_terminal_is_left_as_it_was(self):
        for end, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            main, terminal = pty.openpty()
            before = termios.tcgetattr(terminal)
            process = subprocess.Popen([TERN, "chat", "-m", MODEL], stdin=terminal, stdout=terminal, stderr=terminal,
                                       env={**self.environment, "TERM": "xterm"}, start_new_session=True)
            shown = b""
            while b"> " not in shown:
                shown += os.read(main, 1000)
            time.sleep(0.3)
            self.assertNotEqual(termios.tcgetattr(terminal)[3], before[3])  # the line editor reads single keys
            process.send_signal(end)
            self.assertEqual(process.wait(timeout=20), code)
            self.assertEqual(termios.tcgetattr(terminal), before)
            os.close(main)
            os.close(terminal)

    def test_a_cancel_before_anything_was_asked_sums_nothing_up(self):
        self.sheep.plays = [{"status": 503, "headers": {"Retry-After": "60"}}]
        self.providers(retries=2)
        process = self.start(*self.sheep_run())
        self.wait_until(lambda: self.sheep.chats)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("cancelled before an answer began", err)
        self.assertNotIn("0 tokens", err)

    def test_closed_standard_streams(self):
        """What is printed must not go into a file that got the number of a closed stream."""
        process = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", TERN, *self.sheep_run()], env=self.environment,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(process.returncode, 3, process.stderr)
        self.assertIn("cannot write the output", process.stderr)
        with sqlite3.connect(self.ledger()) as ledger:
            self.assertEqual(ledger.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_help_on_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            for arguments in (["--help"], ["run", "--help"], ["--version"], ["cost"]):
                done = subprocess.run([TERN, *arguments], stdout=full, stderr=subprocess.PIPE, env=self.environment, timeout=60)
                self.assertEqual(done.returncode, 3, arguments)


class Codes(Case):
    def test_classes(self):
        def refuses(status, message, headers=(), **more):
            return {"status": status, "body": {"error": {"message": message, **more}}, "headers": dict(headers)}

        table = [
            (refuses(401, "Invalid API key"), 5, "auth"),
            (refuses(403, "Not allowed"), 5, "auth"),
            (refuses(402, "spent", type="insufficient_quota"), 6, "quota"),
            (refuses(429, "Too many", {"Retry-After": "33"}), 7, "rate limit"),
            (refuses(504, "late"), 8, "timeout"),
            (refuses(400, "too long", code="context_length_exceeded"), 10, "context length"),
            (refuses(400, "no", code="content_filter"), 11, "content policy"),
            (refuses(500, "broken"), 12, "server"),
            (refuses(400, "temperature is wrong", type="invalid_request_error"), 2, "bad input"),
            ({"empty": True}, 12, "server"),
        ]
        for play, code, name in table:
            self.sheep.plays = [play]
            error = self.failure(*self.sheep_run(), code=code)
            self.assertEqual((error["class"], error["provider"]), (name, "holysheep"))
            self.assertEqual(error["status"], play.get("status", 200))
            self.assertEqual(error["retry_after"], 33.0 if code == 7 else None)
            self.tern(*self.sheep_run(), code=code)  # the same without --json
            os.remove(self.ledger())  # and with it breakers and quotas

    def test_a_half_answer(self):
        self.sheep.plays = [{"text": "one two three four", "cut": 2}]
        error = self.failure(*self.sheep_run(), code=4)
        self.assertEqual((error["class"], error["partial_text"]), ("partial answer", "one two"))
        row = self.books()
        self.assertEqual((row["prompt_tokens"], row["completion_tokens"]), (PROMPT, 2))  # 7 bytes

    def test_no_connection_and_no_answer(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = "http://127.0.0.1:%d/v1" % unused.getsockname()[1]
            self.environment["HOLYSHEEP_BASE_URL"] = address
            self.assertEqual(self.failure(*self.sheep_run(), code=9)["class"], "network")
        self.environment["HOLYSHEEP_BASE_URL"] = self.sheep.url
        self.sheep.plays = [{"text": "late", "delay": 5}]
        self.providers(retries=1, timeouts={"first_byte": 0.4})
        os.remove(self.ledger())
        self.assertEqual(self.failure(*self.sheep_run(), code=8)["class"], "timeout")
        row = self.books()  # both prompts went out, and may be charged
        self.assertEqual((row["prompt_tokens"], row["estimated"]), (2 * PROMPT, 1))
        self.assertAlmostEqual(row["cost_usd"], 2 * PROMPT * 1e-6, 12)

    def test_keys_and_budgets(self):
        del self.environment["HOLYSHEEP_API_KEY"]
        self.assertEqual(self.failure(*self.sheep_run(), code=5)["class"], "auth")
        self.environment["HOLYSHEEP_API_KEY"] = KEY
        self.assertEqual(self.failure(*self.sheep_run("--max-cost", "0.000001"), code=6)["class"], "quota")
        self.assertEqual(self.asked(), [0, 0])

    def test_bad_input_of_every_command_with_json(self):
        for command in (["run", "-m", "/nonexistent.gguf", "Hi"], ["run", "--no-such-option"], ["inspect", "/nonexistent.gguf"],
                        ["tokenize", "-m", "/nonexistent.gguf", "Hi"], ["cost", "--by", "name"], ["route", "--route", "nobody", "Hi"],
                        ["remote", "providers", "--providers", "/nonexistent.json"]):
            self.assertEqual(self.failure(*command, code=2)["class"], "bad input")
        for command in (["bench", "-m", "/nonexistent.gguf", "-o", "json"],
                        ["eval", "--task", "lambada", "-f", "/nonexistent.jsonl", "-o", "json"]):
            out, _ = self.tern(*command, code=2)
            self.assertEqual(json.loads(out)["error"]["class"], "bad input")
        self.sheep.key = "cr_another"
        error = self.failure("remote", "check-key", code=5)
        self.assertEqual([row["accepted"] for row in error["providers"]], [False, True])

    def test_a_failed_turn_in_a_pipe(self):
        self.sheep.plays = [{"status": 500}, {"text": "good"}]
        out, err = self.tern("chat", "--provider", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", text="one\ntwo\n", code=12)
        self.assertEqual(out, "good\n")
        self.assertEqual(err.count("error: "), 1)

    def test_a_withheld_answer_is_no_success(self):
        call = {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
        self.sheep.plays = [{"text": "I will", "deltas": [{"content": "Well. "}], "events": [call]}]
        out, err = self.tern(*self.sheep_run(), code=11)
        self.assertIn("withheld the rest", err)

    def test_help_and_readme_list_the_same_codes(self):
        text = self.tern("--help")[0]
        codes = dict(re.findall(r"^ *(\d+)  (\S.*)$", text[text.index("Exit codes:"):], re.M))
        self.assertEqual(sorted(map(int, codes)), [*range(13), 130])
        with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as file:
            listed = re.findall(r"^\| (\d+) \|", file.read(), re.M)
        self.assertEqual(listed, [str(code) for code in range(13)])


class Ledger(Case):
    def test_a_killed_call_is_booked_by_what_came(self):
        self.sheep.plays = [SLOW]
        process = self.start(*self.sheep_run())
        self.assertEqual(process.stdout.read(4), "word")
        time.sleep(2.5)  # after two seconds the ledger is told what has come
        self.tern("cost", says=["1 call under way"])
        process.kill()
        process.communicate()
        self.sheep.plays = [{"text": "hello"}]
        # The worst that it could have cost is more than this budget.
        self.tern(*self.sheep_run("-n", "20", "--budget-day", "0.01"))
        row = self.books()
        self.assertEqual((row["calls"], row["unsettled"], row["failed"]), (2, 0, 1))
        self.assertEqual(row["prompt_tokens"], PROMPT + len("Hi there"))
        self.assertGreater(row["completion_tokens"], 20)  # two seconds of a word in 50 ms, of 5 bytes
        self.assertLess(row["cost_usd"], 0.001)

    def test_settle(self):
        """A ledger of the first version, with a call of which nobody knows whose it was."""
        os.makedirs(os.path.dirname(self.ledger()))
        with sqlite3.connect(self.ledger()) as old:
            old.executescript("""CREATE TABLE calls(
              id INTEGER PRIMARY KEY, at INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, reason TEXT NOT NULL,
              settled INTEGER NOT NULL DEFAULT 0, prompt_tokens INTEGER NOT NULL DEFAULT 0,
              completion_tokens INTEGER NOT NULL DEFAULT 0, estimated INTEGER NOT NULL DEFAULT 0, cost INTEGER,
              latency_ms INTEGER NOT NULL DEFAULT 0, first_token_ms INTEGER NOT NULL DEFAULT 0,
              request_id TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '');""")
            old.execute("INSERT INTO calls(at, provider, model, reason, cost) VALUES(?, 'openai', 'gpt-4.1', 'r', 8380000000)",
                        (int(time.time() * 1000) - 60_000,))
        old.close()
        os.chmod(self.ledger(), 0o644)
        self.tern("cost", says=["1 call under way", "tern cost --settle"])
        _, err = self.tern("cost", "--settle", says=["1 call whose process is gone"])
        self.assertEqual(self.books()["unsettled"], 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.ledger()).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.ledger())).st_mode), 0o700)

    def test_a_damaged_ledger_stops_nothing_here(self):
        local, _ = self.tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time")
        base = ["--allow-remote", "-n", "8", "--temp", "0", "Once upon a time"]
        for damage in ("garbage", "folder", "pages"):
            os.makedirs(os.path.dirname(self.ledger()), exist_ok=True)
            if damage == "folder":
                os.mkdir(self.ledger())
            elif damage == "garbage":
                with open(self.ledger(), "wb") as file:
                    file.write(b"not a ledger" * 1000)
            else:
                self.tern("cost")
                with open(self.ledger(), "r+b") as file:
                    file.seek(100)
                    file.write(b"\xff" * 20000)
            out, _ = self.tern("run", "--route", "auto", "-m", MODEL, *base, says=["note: " + self.ledger(), "not asked"])
            self.assertEqual(out, local, damage)
            _, err = self.tern("run", "--route", "holysheep", "-m", "deepseek-v3.2", *base, code=3)
            self.assertIn("not asked without a ledger", err)
            self.tern("cost", code=3, says=[self.ledger()])
            self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])
            if damage == "folder":
                os.rmdir(self.ledger())
            else:
                for name in os.listdir(os.path.dirname(self.ledger())):
                    os.remove(os.path.join(os.path.dirname(self.ledger()), name))

    def test_a_refusal_costs_nothing(self):
        self.sheep.plays = [{"status": 503}]
        self.tern(*self.sheep_run(), code=12)
        row = self.books()
        self.assertEqual((row["failed"], row["cost_usd"], row["prompt_tokens"]), (1, 0, 0))


class Money(Case):
    def test_a_budget_without_n_sends_what_it_allows(self):
        # At most 4 + 8 + 16 tokens of prompt: 28 millionths of a dollar; two for each token of the answer.
        self.tern(*self.sheep_run("--max-cost", "0.000228"), says=["holysheep may write 100 tokens at most"])
        self.assertEqual(self.sheep.chats[0]["max_tokens"], 100)
        self.tern(*self.sheep_run("--budget-day", "5"))
        self.assertEqual(self.sheep.chats[1]["max_tokens"], 4096)
        self.tern(*self.sheep_run("--budget-day", "5", "-n", "7"))
        self.assertEqual(self.sheep.chats[2]["max_tokens"], 7)
        self.tern(*self.sheep_run())
        self.assertNotIn("max_tokens", self.sheep.chats[3])
        self.tern(*self.sheep_run("--max-cost", "0.00005"), code=6, says=["even a short answer can cost $0.000060"])

    def test_cached_tokens(self):
        self.sheep.plays = [{"text": "hello", "usage": {"prompt_tokens": 9520, "completion_tokens": 4, "total_tokens": 9524,
                                                        "prompt_tokens_details": {"cached_tokens": 9519}}}]
        answer = json.loads(self.tern(*self.sheep_run("--json"), says=["at most"])[0])
        self.assertEqual((answer["cached_tokens"], answer["cost_is_upper_bound"], answer["estimated"]), (9519, True, False))
        self.assertAlmostEqual(answer["cost_usd"], 9520e-6 + 8e-6, 12)
        self.tern("cost", says=["the most that can have been charged"])
        self.providers(models=[priced("deepseek-v3.2", 1, 2, cached_input=0.1)])
        answer = json.loads(self.tern(*self.sheep_run("--json"), says=["9519 tokens of the prompt from the cache"])[0])
        self.assertFalse(answer["cost_is_upper_bound"])
        self.assertAlmostEqual(answer["cost_usd"], 1e-6 + 951.9e-6 + 8e-6, 12)

    def test_zeros_are_no_usage(self):
        self.sheep.plays = [{"text": "hello there", "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}]
        answer = json.loads(self.tern(*self.sheep_run("--json"))[0])
        self.assertTrue(answer["estimated"])
        self.assertGreater(answer["prompt_tokens"], 0)
        self.assertEqual(answer["completion_tokens"], 3)  # 11 bytes
        self.assertGreater(answer["cost_usd"], 0)

    def test_another_server_has_no_price(self):
        self.write("providers.json", {})
        arguments = ["run", "--provider", "openai", "--allow-remote", "-m", "gpt-4.1", "Hi there"]
        self.tern(*arguments, says=["cost unknown (no price)"])
        self.tern(*arguments, "--budget-day", "1", code=6, says=["not known"])
        self.assertEqual(self.asked(), [0, 1])


class Keys(Case):
    def test_an_echo_is_masked(self):
        import base64
        for echo in (KEY.upper(), base64.b64encode(KEY.encode()).decode(), base64.b64encode(b"Bearer " + KEY.encode()).decode()):
            self.sheep.plays = [{"status": 400, "body": {"error": {"message": "the header was %s, which is wrong" % echo}}}]
            out, err = self.tern(*self.sheep_run("--json"), code=2, says=["the header was ", "..."])
            self.assertNotIn(echo[8:-8], out + err)

    def test_a_key_file_for_all_is_warned_about(self):
        path = self.write("key", KEY)
        os.chmod(path, 0o644)
        self.providers(key_variable="", key_file=path)
        self.tern(*self.sheep_run(), says=["other users of this machine may read this key", "chmod 600 " + path])
        os.chmod(path, 0o600)
        _, err = self.tern(*self.sheep_run())
        self.assertNotIn("chmod", err)

    def test_plain_http_is_said_before_it_is_agreed_to(self):
        self.write("providers.json", {"providers": [{"name": "desk", "base_url": "http://192.0.2.7:8080/v1", "default_model": "any"}]})
        self.tern("run", "--provider", "desk", "Hi", code=2, says=["192.0.2.7:8080 (desk) over plain http, unencrypted"])


if __name__ == "__main__":
    TERN, MODEL, SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
    program.skip_without_table(TERN)
    remote_test.TERN, remote_test.MODEL, remote_test.SOURCE = TERN, MODEL, SOURCE
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
