#!/usr/bin/env python3
"""tern batch: many requests from a file, here and by servers on the loopback.

    batch_test.py path/to/tern path/to/small.gguf
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import loopback_api  # noqa: E402
import program  # noqa: E402,F401

TERN = MODEL = ""
KEY = "cr_SecretSecretSecretSecretWxYz"


def line(number, text, **body):
    body.setdefault("messages", [{"role": "user", "content": text}])
    return json.dumps({"custom_id": "r%d" % number, "method": "POST", "url": "/v1/chat/completions",
                       "body": {"model": "deepseek-v3.2", "max_tokens": 8, **body}})


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tern-batch-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.api = loopback_api.Api(KEY)
        self.addCleanup(self.api.close)
        self.environment = dict(os.environ)
        self.environment.update(
            HOLYSHEEP_BASE_URL=self.api.url, HOLYSHEEP_API_KEY=KEY, TERN_MODEL=MODEL,
            XDG_CONFIG_HOME=self.folder + "/config", XDG_STATE_HOME=self.folder + "/state",
            XDG_CACHE_HOME=self.folder + "/cache")
        os.makedirs(self.folder + "/config/tern", mode=0o700)
        with open(self.path("config/tern/providers.json"), "w", encoding="utf-8") as file:
            json.dump({"providers": [{"name": "holysheep", "retries": 0}]}, file)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, lines, name="in.jsonl"):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def start(self, *options, route=("--route", "holysheep", "--allow-remote")):
        return subprocess.Popen([TERN, "batch", "in.jsonl", "out.jsonl", *route, *options],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=self.environment, cwd=self.folder, text=True)

    def batch(self, *options, code=0, **more):
        process = self.start(*options, **more)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, out + err)
        self.assertNotIn(KEY, out + err)
        return err

    def output(self):
        with open(self.path("out.jsonl"), encoding="utf-8") as file:
            return [json.loads(text) for text in file]


class Remote(Case):
    def test_answers_keep_the_order_whatever_order_they_come_in(self):
        # The server answers with what it was asked; early requests take longest.
        self.api.fault = lambda n: {"text": "", "delay": 0.3 if n < 2 else 0}
        self.write([line(i, "question %d" % i) for i in range(8)])
        self.batch("--parallel", "4")
        output = self.output()
        self.assertEqual([o["custom_id"] for o in output], ["r%d" % i for i in range(8)])
        self.assertEqual([o["response"]["body"]["choices"][0]["message"]["content"] for o in output],
                         ["question %d" % i for i in range(8)])
        self.assertEqual(output[0]["response"]["body"]["tern"]["provider"], "holysheep")
        self.assertFalse(os.path.exists(self.path("out.jsonl.part")))
        self.assertEqual(len(self.api.chats), 8)

    def test_a_failed_line_is_an_error_in_its_place(self):
        self.api.fault = lambda n: None
        self.api.plays = [{"text": "fine"}]
        refused = {"status": 400, "body": {"error": {"message": "bad tool"}}}
        self.api.fault = lambda n: refused if self.api.chats[n]["messages"][0]["content"] == "one" else None
        self.write([line(0, "zero"), "this is no JSON", line(1, "one"), line(2, "two", temperature="hot"),
                    line(3, "three")])
        self.batch(code=4)
        output = self.output()
        self.assertEqual([o["custom_id"] for o in output], ["r0", None, "r1", "r2", "r3"])
        self.assertEqual([o["error"] is None for o in output], [True, False, False, False, True])
        self.assertIn("line 2: expected a JSON object", output[1]["error"]["message"])
        self.assertIn("bad tool", output[2]["error"]["message"])
        self.assertEqual(output[2]["error"]["status"], 400)
        self.assertIn("body.temperature", output[3]["error"]["message"])

    def test_goes_on_after_a_kill_and_pays_for_nothing_twice(self):
        self.api.fault = lambda n: {"text": "", "delay": 0 if n < 3 else 30}
        self.write([line(i, "question %d" % i) for i in range(6)])
        process = self.start("--parallel", "1")
        deadline = time.time() + 30
        while len(self.api.chats) < 4 and time.time() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.assertFalse(os.path.exists(self.path("out.jsonl")))
        self.api.fault = lambda n: {"text": ""}
        err = self.batch()
        self.assertIn("3 of 6 lines are done", err)
        self.assertEqual(len(self.api.chats), 4 + 3)
        self.assertEqual([o["response"]["body"]["choices"][0]["message"]["content"] for o in self.output()],
                         ["question %d" % i for i in range(6)])

    def test_ctrl_c_keeps_what_is_done(self):
        self.api.fault = lambda n: {"text": "", "delay": 0 if n < 2 else 30}
        self.write([line(i, "question %d" % i) for i in range(4)])
        process = self.start("--parallel", "1")
        deadline = time.time() + 30
        while len(self.api.chats) < 3 and time.time() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("2 of 4 lines are done", err)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_wrong_key_ends_it_after_one_line(self):
        self.environment["HOLYSHEEP_API_KEY"] = "cr_WrongWrongWrongWrongWrongWrong"
        self.write([line(i, "x") for i in range(20)])
        self.batch("--parallel", "1", code=5)
        self.assertLessEqual(len(self.api.chats), 1)
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_path_as_model_leaves_for_nobody(self):
        self.write([line(0, "x", model="/home/me/secret.gguf")])
        self.batch(code=4)
        self.assertIn("not sent", self.output()[0]["error"]["message"])
        self.assertEqual(self.api.chats, [])


class Local(Case):
    def test_equals_run_and_asks_nobody(self):
        prompts = ["Once upon a time", "The little dog", "Sara and Tom"]
        self.write([json.dumps({"custom_id": "p%d" % i, "url": "/v1/completions", "body": {
            "prompt": p, "max_tokens": 12, "temperature": 0}}) for i, p in enumerate(prompts)])
        self.batch("-m", MODEL, route=())
        for prompt, output in zip(prompts, self.output()):
            run = subprocess.run([TERN, "run", "-m", MODEL, "--raw", "--temp", "0", "-n", "12", "--json", prompt],
                                 capture_output=True, text=True, env=self.environment, check=True)
            body = output["response"]["body"]
            self.assertEqual(body["choices"][0]["text"], json.loads(run.stdout)["text"])
            self.assertEqual(body["choices"][0]["finish_reason"], "length")
            self.assertEqual(body["usage"]["completion_tokens"], 12)
        self.assertEqual(self.api.connections, 0)

    def test_existing_output_is_kept_without_force(self):
        self.write([line(0, "x")])
        with open(self.path("out.jsonl"), "w", encoding="utf-8") as file:
            file.write("precious\n")
        err = self.batch("-m", MODEL, code=2, route=())
        self.assertIn("--force", err)
        with open(self.path("out.jsonl"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious\n")
        self.batch("-m", MODEL, "--force", route=())
        self.assertEqual(self.output()[0]["custom_id"], "r0")

    def test_tools_are_refused_in_their_place(self):
        self.write([line(0, "x", tools=[{"type": "function"}]), line(1, "y")])
        self.batch("-m", MODEL, code=4, route=())
        output = self.output()
        self.assertIn("tools", output[0]["error"]["message"])
        self.assertIsNone(output[1]["error"])


if __name__ == "__main__":
    TERN, MODEL = (os.path.abspath(path) for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
