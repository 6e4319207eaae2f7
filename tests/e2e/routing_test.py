#!/usr/bin/env python3
"""tern run, chat, route and remote: which names leave the machine, who is asked next, what is learnt and forgotten.

    routing_test.py path/to/tern path/to/small.gguf path/to/repository
"""

import json
import os
import shutil
import socket
import sys
import threading
import time
import unittest

import program  # noqa: F401: keeps the user's environment out
import remote_test
from remote_test import DOWN, KEY

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import loopback_api  # noqa: E402


def refusal(status, message, **more):
    return {"status": status, "body": {"error": {"message": message, **more}}}


class Names(remote_test.Case):
    def sent_names(self):
        return [chat["model"] for chat in self.sheep.chats + self.open.chats]

    def route(self, *arguments, **more):
        return self.tern("run", "--allow-remote", "-n", "6", "--temp", "0", *arguments, "Once", **more)

    def test_a_path_never_leaves(self):
        secret = os.path.join(self.folder.name, "secret-project.gguf")
        shutil.copy(remote_test.MODEL, secret)
        plain = os.path.join(self.folder.name, "secret-weights")
        shutil.copy(remote_test.MODEL, plain)
        folder = os.path.join(self.folder.name, "secret-folder")
        os.mkdir(folder)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder.name)
        for name in (secret, "./secret-project.gguf", "secret-project.gguf", "secret-weights", folder, "secret-folder",
                     "../" + os.path.basename(self.folder.name) + "/secret-project.gguf"):
            _, err = self.route("--route", "remote", "-m", name)
            self.assertIn("its name is not sent: holysheep is asked for deepseek-v3.2 instead", err)
        self.route("--route", "remote", "-m", secret, "--remote-model", "gpt-4.1")
        self.assertEqual(set(self.sent_names()), {"deepseek-v3.2", "gpt-4.1"})
        for chat in self.sheep.chats + self.open.chats:
            self.assertNotIn("secret", json.dumps(chat))

    def test_a_missing_path_is_an_error(self):
        os.makedirs(os.path.join(self.folder.name, "models"))
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder.name)
        routes = ("remote", "auto", "holysheep", "holysheep,local")
        for i, name in enumerate(("/nowhere/x.gguf", "./x", "../x", "~/x.gguf", "x.gguf", "X.GGUF", "x.safetensors", "models/x",
                                  "C:\\models\\x", "file:///x", "https://h.example/x.bin", "a/b.gguf")):
            self.route("--route", routes[i % 4], "-m", name, code=2)
        for name in ("/nowhere/x", "./x.gguf", "secret.gguf"):
            self.route("--route", "remote", "--remote-model", name, code=2, says=["--remote-model"])
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])

    def test_a_provider_s_names_go_out(self):
        for name in ("deepseek/deepseek-chat", "accounts/fireworks/models/x", "qwen3:8b", "gpt-4.1", "unheard-of"):
            self.route("--route", "holysheep", "-m", name)
        self.assertEqual(self.sent_names(), ["deepseek/deepseek-chat", "accounts/fireworks/models/x", "qwen3:8b", "gpt-4.1",
                                             "unheard-of"])

    def test_a_model_of_tern_s_catalogue_is_this_machine_s(self):
        with open(os.path.join(remote_test.SOURCE, "models", "catalog.json"), encoding="utf-8") as file:
            name = json.load(file)["models"][0]["name"]
        _, err = self.route("--route", "auto", "-m", name)
        self.assertIn(name + " is a model of this machine, and its name is not sent", err)
        self.assertEqual(self.sent_names(), ["deepseek-v3.2"])

    def test_fall_back_to_this_machine(self):
        self.sheep.plays = self.open.plays = [DOWN]
        local, _ = self.tern("run", "-m", remote_test.MODEL, "-n", "6", "--temp", "0", "Once")
        says = ["deepseek-v3.2 is not on this machine: tern-tiny.gguf answers in its place"]
        self.assertEqual(self.route("--route", "holysheep, local", "-m", "deepseek-v3.2", says=says)[0], local)
        self.environment["TERN_MODEL"] = "/nonexistent.gguf"
        self.route("--route", "holysheep,local", "-m", "deepseek-v3.2", code=12)
        for more in (["--route", "holysheep,local"], ["--route", "remote"], ["--route", "auto"]):
            self.assertEqual(self.route(*more, "-m", "deepseek-v3.2", "--local-model", remote_test.MODEL, says=says)[0], local)
        self.write("config.json", {"local_model": remote_test.MODEL, "remote_model": "gpt-4.1"})
        self.tern("remote", "reset")
        self.assertEqual(self.route("--route", "openai,local", says=["tern-tiny.gguf"])[0], local)
        self.assertEqual(self.open.chats[-1]["model"], "gpt-4.1")

    def test_without_keys_it_says_that_it_answers_here(self):
        del self.environment["HOLYSHEEP_API_KEY"], self.environment["OPENAI_API_KEY"]
        _, err = self.route("--route", "remote", "-m", remote_test.MODEL)
        self.assertIn("not asked: holysheep: there is no API key. Put one into the environment variable HOLYSHEEP_API_KEY.", err)
        self.assertNotIn("holysheep: holysheep", err)
        _, err = self.route("--route", "holysheep", "-m", "deepseek-v3.2", code=5)
        self.assertNotIn("holysheep: holysheep", err)
        self.assertNotIn("..", err)

    def test_route_says_the_same_names(self):
        out = json.loads(self.tern("route", "--route", "openai,local", "--allow-remote", "-m", remote_test.MODEL, "Hi", "--json")[0])
        self.assertEqual([(step["provider"], step["model"]) for step in out["steps"]],
                         [("openai", "gpt-4.1"), ("local", "tern-tiny.gguf")])
        self.tern("route", "--route", "remote", "--allow-remote", "-m", "./x", "Hi", code=2)


class Offline(remote_test.Case):
    def test_nothing_leaves(self):
        self.write("config.json", {"allow_remote": True, "route": "remote"})
        for name, value in (("TERN_OFFLINE", "1"), ("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "ON"), ("HF_HUB_OFFLINE", "Yes"),
                            ("HF_HUB_OFFLINE", "true"), ("TERN_OFFLINE", "TRUE")):
            self.environment[name] = value
            self.tern("run", "-m", remote_test.MODEL, "-n", "2", "Once", says=[name + " is set"])
            self.tern("run", "-m", "deepseek-v3.2", "Hi", code=2)
            del self.environment[name]
        self.environment["TERN_OFFLINE"] = "1"
        for route in ("auto", "remote", "holysheep,local", "holysheep"):
            self.tern("run", "--route", route, "-m", remote_test.MODEL, "-n", "2", "Once")
        self.tern("chat", "-m", remote_test.MODEL, "-n", "2", text="Once\n")
        self.tern("route", "-m", "deepseek-v3.2", "Hi", code=2, says=["TERN_OFFLINE"])
        for what in ("check-key", "models", "balance"):
            self.tern("remote", what, code=2, says=["TERN_OFFLINE"])
        del self.environment["TERN_OFFLINE"]
        self.assertEqual([self.sheep.connections, self.open.connections], [0, 0])
        for value in ("0", "false", "No", "OFF", ""):
            self.environment["HF_HUB_OFFLINE"] = value
            self.tern("run", "-m", "deepseek-v3.2", "Hi")
        self.assertEqual(self.asked(), [5, 0])


class Failing(remote_test.Case):
    def test_who_is_asked_next(self):
        cases = [(refusal(400, "{'error': '/chat/completions: Invalid model name passed in model=x. Call `/v1/models`'}"), True),
                 (refusal(400, "No connected db.", type="no_db_connection"), True),
                 (refusal(400, "temperature is wrong"), True),
                 ({"status": 413, "body": "<html><title>413 Request Entity Too Large</title></html>"}, True),
                 (refusal(422, "nothing of this"), True),
                 (refusal(400, "输入长度超过模型最大上下文长度"), True),  # the second one's window is larger
                 (refusal(400, "Content Exists Risk"), False),
                 (refusal(400, "m", code="content_filter"), False)]
        for play, over in cases:
            self.sheep.plays = [play]
            before = self.asked()
            self.remote(code=0 if over else 11)
            self.assertEqual([n - b for n, b in zip(self.asked(), before)], [1, 1 if over else 0], play)

    def test_a_healthy_one_is_not_kept_waiting(self):
        self.write("providers.json", {})  # with retries
        self.sheep.plays = [{"status": 429, "body": {"error": {"message": "Please retry after 33 seconds."}}}]
        out, _ = self.remote(says=["too many requests", "openai (gpt-4.1) answered"])
        self.assertEqual(out, "hello from the server\n")
        self.assertEqual(self.asked(), [1, 1])
        self.tern("remote", "status", says=["open, asked again in"])

    def test_alone_it_is_waited_for(self):
        self.write("providers.json", {})
        self.sheep.plays = [{"status": 429, "body": {"error": {"message": "Please retry after 0.2 seconds."}}},
                            {"text": "hello from the server"}]
        self.tern("run", "--route", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi", says=["Trying again in 0.2 s"])
        self.assertEqual(self.asked(), [2, 0])

    def test_reset_forgets(self):
        self.sheep.plays = [{"status": 402, "body": {"error": {"code": "daily_cost_limit_exceeded", "message": "spent"}}}]
        self.remote()
        self.remote()
        self.assertEqual(self.asked(), [1, 2])
        self.tern("route", "--route", "remote", "--allow-remote", "-m", "deepseek-v3.2", "Hi",
                  says=["passed over now: its quota is exhausted"])
        self.tern("remote", "reset", "--provider", "openai")
        self.tern("remote", "status", says=["its quota is exhausted until"])
        self.tern("remote", "reset", "--provider", "holysheep", says=["Forgotten"])
        self.assertNotIn("exhausted", self.tern("remote", "status")[0])
        self.remote()
        self.assertEqual(self.asked(), [2, 3])
        self.tern("remote", "reset", "--provider", "local", code=2)

    def test_a_corrected_address_is_asked_at_once(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            wrong = "http://127.0.0.1:%d/v1" % unused.getsockname()[1]
        right = self.environment["HOLYSHEEP_BASE_URL"]
        self.environment["HOLYSHEEP_BASE_URL"] = wrong
        for _ in range(6):
            self.remote(says=["does a server run on this machine, at this port?"])
        self.assertNotIn("open, asked again", self.tern("remote", "status")[0])
        self.environment["HOLYSHEEP_BASE_URL"] = right
        self.remote()
        self.assertEqual(self.asked(), [1, 6])

    def test_an_empty_answer_is_no_success(self):
        path = os.path.join(self.folder.name, "config", "tern", "providers.json")
        self.assertTrue(os.path.exists(path))
        answer = {"id": "x", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": None},
                                                        "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}
        self.sheep.plays = [{"status": 200, "body": answer}]
        self.tern("run", "--route", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi", code=12, says=["the answer is empty"])
        self.remote(says=["openai (gpt-4.1) answered"])

    def test_a_refused_field_is_remembered_between_calls(self):
        refused = {"status": 422, "body": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}
        self.sheep.plays = [refused, {"text": "hello"}]
        self.remote("--seed", "5", says=["seed is left out"])
        self.remote("--seed", "5")
        self.assertEqual(["seed" in chat for chat in self.sheep.chats], [True, False, False])
        self.tern("remote", "reset")
        self.remote("--seed", "5")
        self.remote()
        self.assertEqual(["seed" in chat for chat in self.sheep.chats[3:]], [True, False])


class SlowLine:
    """A proxy that lets so many bytes a second through towards the server."""

    def __init__(self, port, rate):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.url = "http://127.0.0.1:%d/v1" % self.listener.getsockname()[1]
        self.port, self.rate = port, rate
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        self.listener.close()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.pump, args=(client, server, self.rate), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, 0), daemon=True).start()

    @staticmethod
    def pump(source, target, rate):
        try:
            while data := source.recv(8192):
                target.sendall(data)
                if rate:
                    time.sleep(len(data) / rate)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Limits(remote_test.Case):
    def test_a_slow_uplink(self):
        """600 kB at 200 kB/s take three seconds; nothing may count them as the server's silence."""
        line = SlowLine(int(self.sheep.host.split(":")[1]), 200_000)
        self.addCleanup(line.close)
        self.environment["HOLYSHEEP_BASE_URL"] = line.url
        path = os.path.join(self.folder.name, "long.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("word " * 120_000)
        self.tern("run", "--route", "holysheep", "--allow-remote", "-m", "claude-sonnet-4.5", "-f", path, "--timeout-first-byte",
                  "0.5", "--timeout-idle", "5", "--retries", "0")
        self.assertEqual(self.asked(), [1, 0])

    def test_limits_are_named_and_set(self):
        self.sheep.plays = [{"text": "late", "delay": 1}]
        base = ["run", "--route", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi"]
        self.tern(*base, "--timeout-first-byte", "0.2", code=8,
                  says=["no answer within 0.2 s", "--timeout-first-byte", "timeouts.first_byte"])
        self.tern(*base, "--timeout-total", "0.2", code=8, says=["--timeout-total"])
        self.write("config.json", {"timeouts": {"first_byte": 0.2}, "retries": 0})
        self.tern(*base, code=8, says=["no answer within 0.2 s"])
        self.tern(*base, "--timeout-first-byte", "5")
        self.write("config.json", {"timeouts": {"first": 1}})
        self.tern(*base, code=2, says=["$.timeouts"])
        for wrong in (["--retries", "11"], ["--timeout-idle", "-1"], ["--timeout-idle", "nan"]):
            self.tern(*base, *wrong, code=2)


class Requests(remote_test.Case):
    def test_fields_headers_tools(self):
        tools = self.write("tools.json", [{"type": "function", "function": {"name": "look", "parameters": {}}}])
        base = ["run", "--provider", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi"]
        self.tern(*base, "--extra-body", '{"enable_thinking": false}', "--header", "X-Team: blue", "--tools", tools,
                  "--response-format", "json")
        sent = self.sheep.chats[0]
        self.assertEqual(sent["enable_thinking"], False)
        self.assertEqual(sent["response_format"], {"type": "json_object"})
        self.assertEqual(sent["tools"][0]["function"]["name"], "look")
        for wrong in (["--extra-body", "[1]"], ["--extra-body", "{"], ["--tools", "/nowhere"], ["--header", "no colon"],
                      ["--header", "Host: x"], ["--header", "X: a\nY: b"], ["--response-format", '{"a": 1}']):
            self.tern(*base, *wrong, code=2)
        # A header may hold a key: of one provider alone.
        self.remote("--header", "X-Key: 1", code=2, says=["--header"])
        # This machine's engine knows none of them, and says so instead of leaving them out.
        self.tern("run", "-m", remote_test.MODEL, "--tools", tools, "Hi", code=2, says=["--tools"])
        self.tern("run", "--route", "auto", "--allow-remote", "-m", remote_test.MODEL, "--tools", tools, "Hi",
                  says=["its name is not sent"])
        self.assertEqual(self.asked(), [2, 0])

    def test_thoughts_and_calls_are_seen(self):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look\x1b[2J", "arguments": '{"at": 1}'}}
        self.sheep.plays = [{"text": "done", "deltas": [{"reasoning_content": "let me\n"}, {"reasoning_content": "see\x1b[31m"},
                                                        {"tool_calls": [call]}]}]
        out, err = self.remote()
        self.assertRegex(out, r'^done\n\[call look\S* ?\[2J \{"at": 1\}\]\n$')
        self.assertIn("[thoughts] let me\nsee\\x1B[31m\n[answer]\n", err)
        out, err = self.tern("chat", "--route", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", text="Hi\n")
        self.assertIn('{"at": 1}]', out)
        self.assertIn("[thoughts] let me", err)
        self.assertNotIn("\x1b", out + err)

    def test_embeddings(self):
        base = ["embed", "--route", "openai", "--allow-remote"]
        texts = ["text %03d" % i + "x" * (i % 5) for i in range(70)]
        out = json.loads(self.tern(*base, "--no-normalize", "-f", "-", text="\n".join(texts) + "\n")[0])
        self.assertEqual([entry["embedding"] for entry in out["data"]], [[len(text), 1, 0] for text in texts])
        self.assertEqual([chat["model"] for chat in self.open.chats], ["text-embedding-3-small"] * 2)
        self.assertEqual(sum(len(chat["input"]) for chat in self.open.chats), 70)
        self.assertEqual(out["usage"]["prompt_tokens"], sum(map(len, texts)))
        unit = json.loads(self.tern(*base, "abc")[0])["data"][0]["embedding"]
        self.assertAlmostEqual(unit[0], 3 / 10 ** 0.5, 6)
        self.assertAlmostEqual(unit[1], 1 / 10 ** 0.5, 6)
        # Vectors of two models cannot be compared: nobody stands in.
        self.tern(*base, "-m", remote_test.MODEL, "abc", code=2, says=["cannot stand in"])
        self.open.plays = [DOWN]
        self.tern("embed", "--route", "openai,holysheep", "--allow-remote", "abc", code=2, says=["the upstream is down"])
        self.assertEqual(self.sheep.connections, 0)
        self.tern("embed", "--route", "openai", "abc", code=2, says=["--allow-remote"])
        self.environment["TERN_OFFLINE"] = "1"
        before = self.open.connections
        self.tern("embed", "--route", "openai", "--allow-remote", "-m", "text-embedding-3-small", "abc", code=2)
        self.assertEqual(self.open.connections, before)

    def test_a_slow_local_run_is_handed_over_without_its_prompt(self):
        text = "Once upon a time there was a little girl who liked to play. " * 12
        out, err = self.tern("run", "--route", "auto", "--allow-remote", "-m", remote_test.MODEL, "-c", "512", "-n", "4",
                             "--offload-after", "0.000001", text)
        self.assertEqual(out, "hello from the server\n")
        self.assertEqual(self.asked(), [1, 0])
        # In a chain nothing is estimated: the run begins here, and goes on elsewhere when its first token does not come.
        out, err = self.tern("run", "--route", "local,holysheep", "--allow-remote", "-m", remote_test.MODEL, "-c", "512", "-n", "4",
                             "--offload-after", "0.000001", text, says=["no first token within --offload-after"])
        self.assertEqual(out, "hello from the server\n")
        self.assertEqual(self.asked(), [2, 0])

    def test_settings_of_a_project_need_a_flag(self):
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder.name)
        with open("config.json", "w", encoding="utf-8") as file:
            json.dump({"allow_remote": True, "route": "remote"}, file)
        self.tern("run", "-n", "2", "Once")
        self.assertEqual(self.asked(), [0, 0])
        self.tern("run", "--config", "config.json", "-m", "deepseek-v3.2", "Hi")
        self.assertEqual(self.asked(), [1, 0])
        self.tern("run", "--config", "nowhere.json", "Hi", code=2)

    def test_check_key_of_open_servers_and_of_those_without_a_list(self):
        desk = loopback_api.Api()
        self.addCleanup(desk.close)
        self.environment["HOLYSHEEP_BASE_URL"] = desk.url
        out, _ = self.tern("remote", "check-key", "--provider", "holysheep", says=["whether it takes cr_S...WxYz is not known"])
        self.assertNotIn("accepted", out)
        self.environment["HOLYSHEEP_BASE_URL"] = "http://%s/other" % self.sheep.host
        self.sheep.models = None
        self.sheep.plays = [refusal(400, "messages: field required")]
        self.tern("remote", "check-key", "--provider", "holysheep", says=["accepted", "no list of models"])
        self.sheep.key = "cr_another"
        self.tern("remote", "check-key", "--provider", "holysheep", code=5, says=["401"])

    def test_quotes_around_a_key(self):
        self.environment["HOLYSHEEP_API_KEY"] = '"%s"' % KEY
        self.tern("run", "--provider", "holysheep", "--allow-remote", "-m", "deepseek-v3.2", "Hi", says=["quotes around the key are ignored"])
        self.assertEqual(self.asked(), [1, 0])


if __name__ == "__main__":
    remote_test.TERN, remote_test.MODEL, remote_test.SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
