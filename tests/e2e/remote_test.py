#!/usr/bin/env python3
"""tern run, chat, route, remote and cost against servers on the loopback: who is asked, what leaves, what is shown.

    remote_test.py path/to/tern path/to/small.gguf path/to/repository
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import loopback_api  # noqa: E402

TERN = MODEL = SOURCE = ""
KEY = "cr_SecretSecretSecretSecretWxYz"
OTHER_KEY = "sk-OtherOtherOtherOtherOtherAbCd"
DOWN = {"status": 503, "body": {"error": {"message": "the upstream is down"}}}


def priced(model, price_in, price_out, context=131072, **more):
    return {"id": model, "context": context, "price": {"in": price_in, "out": price_out, "date": "2026-11-30", "source": "test", **more}}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tern-remote-")
        self.addCleanup(self.folder.cleanup)
        self.sheep = loopback_api.Api(KEY)
        self.addCleanup(self.sheep.close)
        self.open = loopback_api.Api(OTHER_KEY)
        self.addCleanup(self.open.close)
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.lower().endswith("_proxy") and not k.startswith(("TERN_", "OPENAI", "HOLYSHEEP"))}
        self.environment.update(
            HOLYSHEEP_BASE_URL=self.sheep.url, HOLYSHEEP_API_KEY=KEY, OPENAI_BASE_URL=self.open.url,
            OPENAI_API_KEY=OTHER_KEY, XDG_CONFIG_HOME=self.folder.name + "/config", TERN_MODEL=MODEL,
            XDG_STATE_HOME=self.folder.name + "/state", XDG_CACHE_HOME=self.folder.name + "/cache")
        # Retries are the client's own matter, and have tests of their own. Prices hold for the address beside them.
        self.write("providers.json", {"providers": [
            {"name": "holysheep", "base_url": self.sheep.url, "retries": 0, "models": [priced("deepseek-v3.2", 0.42, 0.42)]},
            {"name": "openai", "base_url": self.open.url, "retries": 0, "models": [priced("gpt-4.1", 2, 8, 1047576)]}]})

    def write(self, name, value):
        path = os.path.join(self.folder.name, "config", "tern", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(value if isinstance(value, str) else json.dumps(value))
        return path

    def start(self, *arguments, **more):
        return subprocess.Popen([TERN, *arguments], stdin=more.pop("stdin", subprocess.DEVNULL),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, text=True, **more)

    def tern(self, *arguments, code=0, says=(), text=None):
        process = self.start(*arguments, stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL)
        out, err = process.communicate(text, timeout=60)
        self.assertEqual(process.returncode, code, out + err)
        for words in says:
            self.assertIn(words, out + err)
        self.assert_no_key(out + err)
        return out, err

    def assert_no_key(self, text):
        for key in (KEY, OTHER_KEY):
            self.assertNotIn(key, text)
            self.assertNotIn(key[4:-4], text)

    def remote(self, *arguments, **more):
        return self.tern("run", "--route", "remote", "--allow-remote", "-m", "deepseek-v3.2", "Hi there", *arguments, **more)

    def asked(self):
        return [len(self.sheep.chats), len(self.open.chats)]


class Answers(Case):
    def test_stream_with_cost_and_who_served(self):
        out, err = self.remote("-n", "20", says=["prompts go to " + self.sheep.host])
        self.assertEqual(out, "hello from the server\n")
        # 8 bytes of prompt, 4 words: 12 tokens at $0.42 a million.
        self.assertIn("prompt 8 tokens; generated 4 tokens", err)
        self.assertIn("holysheep deepseek-v3.2, $0.000005", err)
        self.assertEqual(self.sheep.chats[0]["model"], "deepseek-v3.2")
        self.assertEqual(self.sheep.chats[0]["max_tokens"], 20)
        self.assertTrue(self.sheep.chats[0]["stream"])

    def test_json_and_no_local_model(self):
        self.environment["TERN_MODEL"] = "/nonexistent/model.gguf"
        answer = json.loads(self.remote("--json", "-v", says=["route: holysheep (deepseek-v3.2), because --route remote"])[0])
        self.assertEqual((answer["text"], answer["provider"], answer["model"], answer["request_id"]),
                         ("hello from the server", "holysheep", "deepseek-v3.2", "req-stream"))
        self.assertAlmostEqual(answer["cost_usd"], 12 * 0.42e-6, 12)
        self.assertIn("--route remote", answer["route_reason"])

    def test_json_keeps_reasoning_and_calls_apart(self):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
        self.sheep.plays = [{"text": "done", "deltas": [{"reasoning_content": "let me see"}, {"tool_calls": [call]}]}]
        answer = json.loads(self.remote("--json")[0])
        self.assertEqual((answer["text"], answer["reasoning"]), ("done", "let me see"))
        self.assertEqual(answer["tool_calls"], [{"id": "call_1", "name": "look", "arguments": '{"at": 1}'}])

    def test_a_plain_local_run_needs_no_providers(self):
        self.write("providers.json", "no JSON")
        self.tern("run", "Once", "-n", "2", "--temp", "0")
        self.remote(code=2, says=["providers.json", "this is no JSON"])
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])

    def test_a_provider_s_model_asked_here_says_where_it_may_be(self):
        self.tern("run", "-m", "deepseek-v3.2", "Hi", code=2, says=["error: deepseek-v3.2: no such file", "--route remote"])
        self.assertEqual(self.asked(), [0, 0])

    def test_dual_provider_fallback(self):
        self.sheep.plays = [DOWN]
        out, err = self.remote(says=["openai (gpt-4.1) answered", "does not list deepseek-v3.2", "the server failed (503, request req-503): the upstream is down"])
        self.assertEqual(out, "hello from the server\n")
        self.assertIn("openai gpt-4.1, $", err)
        self.assertEqual(self.asked(), [1, 1])

    def test_wrong_key_warns_loudly_and_fails_over(self):
        self.sheep.key = "cr_another"
        _, err = self.remote(says=["WARNING", "401", "openai (gpt-4.1) answered", "cr_S...WxYz"])
        self.assertEqual(self.asked(), [1, 1])

    def test_what_one_refuses_another_may_take(self):
        self.sheep.plays = [{"status": 400, "body": {"error": {"message": "temperature is wrong", "type": "invalid_request_error"}}}]
        self.remote(says=["temperature is wrong", "openai (gpt-4.1) answered"])
        self.assertEqual(self.asked(), [1, 1])

    def test_a_cut_stream_is_an_error_with_its_partial_text(self):
        self.sheep.plays = [{"text": "one two three four", "cut": 2}]
        out, _ = self.remote(code=4, says=["error:"])
        self.assertEqual(out, "one two\n")
        self.assertEqual(self.asked(), [1, 0])

    def test_restart_is_marked(self):
        self.sheep.plays = [{"text": "one two three four", "cut": 2}]
        out, _ = self.remote("--restart-on-stream-error")
        self.assertEqual(out, "one two\n[holysheep broke off; openai (gpt-4.1) answers from the beginning]\n"
                              "hello from the server\n")

    def test_everybody_down_and_the_local_model_answers(self):
        self.sheep.plays = self.open.plays = [DOWN]
        local, _ = self.tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time")
        for route in (["--route", "remote"], ["--route", "holysheep,openai,local"]):
            out, err = self.tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time", "--allow-remote",
                                 *route, says=["local (tern-tiny.gguf) answered"])
            self.assertEqual(out, local)
        out, _ = self.remote(code=12, says=["Nobody answered"])

    def test_quota_is_remembered(self):
        reset = int(time.time() * 1000) + 3600_000
        iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reset / 1000))
        self.sheep.plays = [{"status": 402, "body": {"error": {"type": "insufficient_quota", "code": "daily_cost_limit_exceeded",
                                                               "message": "spent"}, "resetAt": iso}}]
        self.remote()
        self.remote()
        self.assertEqual(self.asked(), [1, 2])
        self.tern("remote", "status", says=["holysheep: its quota is exhausted until"])

    def test_breaker_outlives_processes(self):
        self.sheep.plays = [DOWN]
        for _ in range(6):
            self.remote()
        self.assertEqual(self.asked(), [5, 6])
        out, _ = self.tern("remote", "status")
        self.assertRegex(out, r"holysheep +deepseek-v3.2 +open, asked again in \d+ s +5 +5")

    def test_interrupt_ends_the_stream_at_once(self):
        self.sheep.plays = [{"text": "word " * 200, "pace": 0.1}]
        process = self.start("run", "--route", "remote", "--allow-remote", "-m", "deepseek-v3.2", "Hi")
        self.assertEqual(process.stdout.read(4), "word")
        began = time.time()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("(cancelled)", err)
        self.assertLess(time.time() - began, 5)
        for _ in range(100):
            if self.sheep.closed:
                break
            time.sleep(0.05)
        self.assertEqual(self.sheep.closed, 1)

    def test_chat(self):
        out, err = self.tern("chat", "--route", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", text="first\nsecond\n")
        self.assertEqual(out.count("hello from the server"), 2)
        self.assertEqual([m["content"] for m in self.sheep.chats[1]["messages"]], ["first", "hello from the server", "second"])
        self.assertEqual(err.count("prompts go to"), 1)


class Privacy(Case):
    def test_the_default_opens_no_connection(self):
        self.tern("run", "-m", MODEL, "-n", "4", "--temp", "0", "Once")
        self.tern("run", "--allow-remote", "-m", MODEL, "-n", "4", "--temp", "0", "Once")
        self.tern("run", "-m", "deepseek-v3.2", "Hi", code=2)
        self.tern("route", "--explain", "--route", "remote", "--allow-remote", "-m", "deepseek-v3.2", "Hi")
        for command in (["remote", "status"], ["remote", "providers"], ["cost"], ["cost", "--plan", "--speed", "20"]):
            self.tern(*command)
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])

    def test_remote_needs_consent_and_says_where_prompts_go(self):
        self.tern("run", "--route", "remote", "-m", "deepseek-v3.2", "Hi", code=2,
                  says=["send your prompts to %s (holysheep)" % self.sheep.host, "--allow-remote"])
        self.tern("run", "--route", "auto", "-m", "deepseek-v3.2", "Hi", code=2, says=["--allow-remote"])
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])
        self.write("config.json", {"allow_remote": True, "route": "remote"})
        self.tern("run", "-m", "deepseek-v3.2", "Hi")
        self.assertEqual(self.asked(), [1, 0])

    def test_local_only_wins(self):
        self.write("config.json", {"allow_remote": True, "route": "remote"})
        self.tern("run", "--local-only", "-m", MODEL, "-n", "4", "--temp", "0", "Once")
        self.tern("run", "--local-only", "--route", "holysheep", "-m", "deepseek-v3.2", "Hi", code=2)
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])

    def test_auto(self):
        base = ["run", "--route", "auto", "--allow-remote", "--temp", "0", "-v"]
        local, _ = self.tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time")
        out, _ = self.tern(*base, "-m", MODEL, "-n", "8", "Once upon a time", says=["route: local", "is on this machine"])
        self.assertEqual(out, local)
        self.assertEqual(self.asked(), [0, 0])
        self.tern(*base, "-m", "deepseek-v3.2", "Hi", says=["route: holysheep", "not on this machine"])
        self.tern(*base, "-m", MODEL, "-c", "64", "-n", "60", "Once upon a time there was", says=["exceed the context of 64"])
        self.assertEqual(self.asked(), [2, 0])
        # A millisecond is too little for anything; the speed is measured for it.
        self.tern(*base, "-m", MODEL, "-n", "50", "--offload-after", "0.001", "Once upon a time", says=["estimated after"])
        self.assertEqual(self.asked(), [3, 0])

    def test_the_ledger_holds_no_text(self):
        self.remote("-v")
        found = b""
        for name in os.listdir(self.folder.name + "/state/tern"):
            with open(os.path.join(self.folder.name, "state", "tern", name), "rb") as file:
                found += file.read()
        self.assertIn(b"deepseek-v3.2", found)
        for secret in (b"Hi there", b"hello from", KEY.encode(), KEY[4:-4].encode()):
            self.assertNotIn(secret, found)


class Money(Case):
    def test_ledger_equals_the_server(self):
        for _ in range(3):
            self.remote()
        rows = json.loads(self.tern("cost", "--json")[0])
        self.assertEqual((rows[0]["calls"], rows[0]["prompt_tokens"], rows[0]["completion_tokens"]),
                         (3, self.sheep.tokens[0], self.sheep.tokens[1]))
        self.assertAlmostEqual(rows[0]["cost_usd"], sum(self.sheep.tokens) * 0.42e-6, 12)
        for by in ("provider", "model", "day"):
            self.tern("cost", "--by", by, "--since", "1d", says=["3"])
        self.tern("cost", "--since", "yesterday", code=2)
        self.tern("cost", "--by", "name", code=2)

    def test_caps_hold_before_sending(self):
        self.remote("-n", "20", "--max-cost", "0.000001", code=6, says=["the budget of $0.000001", "a call"])
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])
        self.remote("-n", "20", "--budget-day", "0.01")
        self.tern("run", "--provider", "openai", "--allow-remote", "-m", "unheard-of", "Hi", "--budget-day", "1", code=6,
                  says=["not known"])
        self.assertEqual(self.asked(), [1, 0])

    def test_plan(self):
        """By hand: 10M tokens at $0.42 and $8 a million; 10M / 20 a second = 138.9 h, at 65 W 9.03 kWh, at $0.15 $1.35."""
        self.write("providers.json", {})
        del self.environment["HOLYSHEEP_BASE_URL"], self.environment["OPENAI_BASE_URL"]
        plan = json.loads(self.tern("cost", "--plan", "--tokens", "10M", "--speed", "20", "--json")[0])
        costs = {(row["provider"], row["model"]): row["cost_usd"] for row in plan["remote"]}
        for model, cost in (("deepseek-v3.2", 4.2), ("gemini-2.5-flash", 25), ("gpt-4.1", 80), ("claude-sonnet-4.5", 150)):
            self.assertAlmostEqual(costs["holysheep", model], cost, 9)
        self.assertAlmostEqual(plan["local"]["hours"], 138.89, 2)
        self.assertAlmostEqual(plan["local"]["kwh"], 9.03, 2)
        self.assertAlmostEqual(plan["local"]["cost_usd"], 1.354, 3)
        self.assertAlmostEqual(plan["local"]["most_tokens_in_30_days"], 51.84e6, 0)
        first = plan["remote"][0]
        self.assertAlmostEqual(first["break_even_usd_per_kwh"], 4.2 / 9.0278, 3)
        # 60/30: two thirds are prompts. OpenAI's gpt-4.1: 10 * (2/3 * 2 + 1/3 * 8) = 40.
        plan = json.loads(self.tern("cost", "--plan", "--in-out", "60/30", "--speed", "20", "--machine-cost", "100", "--json")[0])
        row = [r for r in plan["remote"] if (r["provider"], r["model"]) == ("openai", "gpt-4.1")][0]
        self.assertAlmostEqual(row["cost_usd"], 40, 9)
        self.assertAlmostEqual(row["break_even_tokens"], 100 / (40 - 1.354) * 10e6, -4)
        self.tern("cost", "--plan", "--speed", "20", says=["$4.20", "$1.35", "138.9 hours", "51.8M tokens in 30 days"])
        self.tern("cost", "--plan", "--tokens", "many", code=2)
        self.tern("cost", "--plan", says=["speed is not known"])


class Providers(Case):
    def test_check_key_and_models(self):
        self.tern("remote", "check-key", says=["holysheep: accepted (cr_S...WxYz from", "openai: accepted", "2 models"])
        self.tern("remote", "models", "--provider", "holysheep", says=["deepseek-v3.2"])
        self.sheep.key = "cr_another"
        self.tern("remote", "check-key", code=5, says=["401", "no access to holysheep"])
        del self.environment["HOLYSHEEP_API_KEY"]
        self.tern("remote", "check-key", "--provider", "holysheep", code=5, says=["HOLYSHEEP_API_KEY"])
        self.tern("remote", "check-key", "--provider", "nobody", code=2, says=["holysheep, openai, local"])

    def test_balance(self):
        self.tern("remote", "balance", code=2, says=["balance_url"])  # not for a server that a variable names
        del self.environment["HOLYSHEEP_BASE_URL"]
        path = self.write("other.json", {"providers": [{"name": "holysheep", "base_url": self.sheep.url,
                                                        "balance_url": "http://%s/api/stats/overview" % self.sheep.host}]})
        self.tern("remote", "balance", "--providers", path, says=["holysheep: balance 12.5, today 0.25, this month 3, 42 calls"])

    def test_a_server_is_one_entry(self):
        desk = loopback_api.Api()
        self.addCleanup(desk.close)
        self.write("providers.json", {"providers": [{"name": "desk", "base_url": desk.url, "quirks": {"more_sampling": True}}]})
        self.tern("run", "--provider", "desk", "--allow-remote", "-m", "whatever", "--top-k", "7", "Hi", says=["desk whatever, cost unknown"])
        self.assertEqual((desk.chats[0]["model"], desk.chats[0]["top_k"]), ("whatever", 7))

    def test_errors_name_their_place(self):
        path = self.write("providers.json", {"providers": [{"name": "x", "base_url": "https://h", "key": KEY}]})
        _, err = self.tern("remote", "providers", code=2, says=["$.providers[0]", "keys do not belong"])
        self.assertIn(path, err)
        self.write("providers.json", "{")
        self.tern("remote", "providers", code=2, says=["no JSON"])
        self.write("providers.json", {})
        self.write("config.json", {"offload_after": "soon"})
        self.tern("run", "-m", MODEL, "Hi", code=2, says=["config.json", "$.offload_after"])
        self.write("config.json", {})
        for wrong in (["--route", "nobody"], ["--provider", "nobody"], ["--route", "local", "--provider", "openai"]):
            self.tern("run", *wrong, "Hi", code=2)
        self.tern("remote", code=2)

    def test_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("needs the package python3-jsonschema")
        with open(os.path.join(SOURCE, "remote", "providers.schema.json"), encoding="utf-8") as file:
            schema = json.load(file)
        with open(os.path.join(SOURCE, "remote", "providers.json"), encoding="utf-8") as file:
            jsonschema.validate(json.load(file), schema)
        base = {"name": "x", "base_url": "https://h/v1"}
        price = {"in": 1, "out": 2, "date": "2026-01-01", "source": "s"}
        cases = [({}, True), ({"retries": 3}, True), ({"retries": -1}, False), ({"retries": 11}, False), ({"key": "k"}, False),
                 ({"name": "a b"}, False), ({"base_url": "ftp://h"}, False), ({"base_url": "https://u@h"}, False),
                 ({"timeouts": {"idle": 0.5}}, True), ({"timeouts": {"idle": "1"}}, False),
                 ({"models": [{"id": "m", "price": price}]}, True), ({"models": [{"id": ""}]}, False),
                 ({"models": [{"id": "m", "price": {**price, "date": "May"}}]}, False),
                 ({"models": [{"id": "m", "price": {"in": 1, "out": 2}}]}, False)]
        for more, good in cases:
            document = {"providers": [{**base, **more}]}
            self.assertEqual(jsonschema.Draft7Validator(schema).is_valid(document), good, more)
            self.write("providers.json", document)
            self.tern("remote", "providers", code=0 if good else 2)  # the program agrees with the schema


if __name__ == "__main__":
    TERN, MODEL, SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
    program.skip_without_table(TERN)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
