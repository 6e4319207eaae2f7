#!/usr/bin/env python3
"""tern pull, list, rm and -m NAME from outside, against a hub on the loopback that cuts, lies, refuses and redirects.

    pull_test.py path/to/tern path/to/small.gguf path/to/catalog.json
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import loopback_hub  # noqa: E402

TERN = MODEL = CATALOG = ""
TOKEN = "hf_SecretSecretSecret"


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(MODEL, "rb") as file:
            cls.data = file.read()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tern-pull-")
        self.addCleanup(self.folder.cleanup)
        self.hub = loopback_hub.Hub()
        self.addCleanup(self.hub.close)
        self.hub.repos["me/tiny"] = {"README.md": b"hello", "tiny.gguf": self.data}
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.lower().endswith("_proxy") and not k.startswith(("HF_", "TERN_"))}
        self.environment.update(HF_ENDPOINT=self.hub.url, TERN_MODELS=self.folder.name)

    def start(self, *arguments, **more):
        return subprocess.Popen([TERN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=self.environment, text=True, **more)

    def tern(self, *arguments, code=0, **more):
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, out + err)
        for secret in (TOKEN, "signature=secret"):
            self.assertNotIn(secret, out + err)
        return out, err

    def pull(self, *arguments, code=0, says=(), **more):
        out, err = self.tern("pull", *arguments, code=code, **more)
        for words in says:
            self.assertIn(words, err)
        return out.strip()

    def files(self):
        return sorted(os.path.relpath(os.path.join(at, name), self.folder.name)
                      for at, _, names in os.walk(self.folder.name) for name in names if ".locks" not in at)

    def assert_whole(self, path):
        with open(path, "rb") as file:
            self.assertEqual(file.read(), self.data)
        self.assertFalse([name for name in self.files() if ".part" in name])


class Pulling(Case):
    def test_pull_list_run_rm(self):
        path = self.pull("me/tiny", says=["licence: mit", "1 file"])
        self.assert_whole(path)
        out, _ = self.tern("list")
        self.assertRegex(out, r"NAME +SIZE +FORMAT.*\nme/tiny:tiny.gguf +2.47 MB +GGUF I2_S +mit +" + re.escape(path))
        listed = json.loads(self.tern("list", "--json")[0])
        self.assertEqual([(m["name"], m["complete"], m["architecture"], m["commit"]) for m in listed],
                         [("me/tiny:tiny.gguf", True, "bitnet-b1.58", loopback_hub.COMMIT)])
        by_path, _ = self.tern("run", "-m", MODEL, "-n", "8", "--temp", "0", "Once upon a time")
        asked = len(self.hub.log)
        for name in ("me/tiny", "hf.co/me/tiny:tiny.gguf", "Me/Tiny:TINY", self.hub.url + "/me/tiny"):
            by_name, _ = self.tern("run", "-m", name, "-n", "8", "--temp", "0", "Once upon a time")
            self.assertEqual(by_name, by_path)
        self.tern("inspect", "me/tiny")
        self.tern("tokenize", "-m", "me/tiny", "hello")
        self.assertEqual(len(self.hub.log), asked)  # only pull opens connections
        self.pull("me/tiny", says=["up to date"])
        self.assertEqual(len([e for e in self.hub.asked("store")]), 1)
        self.tern("rm", "me/tiny")
        self.assertEqual(self.files(), [])
        _, err = self.tern("run", "-m", "me/tiny", "x", code=2)
        self.assertIn("tern pull me/tiny", err)
        self.tern("rm", "me/tiny", code=2)

    def test_cut_connections_are_resumed(self):
        self.hub.cuts = [0, 1, 1000000]
        self.assert_whole(self.pull("me/tiny", says=["Trying again"]))
        starts = [entry[3].get("Range") for entry in self.hub.asked("store")]
        self.assertEqual(starts, [None, None, "bytes=1-", "bytes=1000001-"])

    def test_gives_up_and_goes_on_later(self):
        self.hub.cuts = [500000, 0]
        self.pull("me/tiny", "--retries", "0", code=9, says=["500 kB are kept"])
        self.assertIn("unfinished", self.tern("list")[0])
        _, err = self.tern("run", "-m", "me/tiny", "x", code=2)
        self.assertIn("has not ended", err)
        self.assert_whole(self.pull("me/tiny"))
        self.assertEqual(self.hub.log[-1][3].get("Range"), "bytes=500000-")

    def test_changed_file_starts_anew(self):
        self.hub.cuts = [500000, 0]
        self.pull("me/tiny", "--retries", "0", code=9)
        self.data = self.data[::-1]
        self.hub.repos["me/tiny"]["tiny.gguf"] = self.data
        self.assert_whole(self.pull("me/tiny"))
        self.assertIsNone(self.hub.log[-1][3].get("Range"))

    def test_server_without_ranges(self):
        self.hub.ranges = False
        self.hub.cuts = [1000000]
        self.assert_whole(self.pull("me/tiny", says=["whole file again"]))

    def test_part_that_is_too_long(self):
        self.hub.cuts = [500000, 0]
        self.pull("me/tiny", "--retries", "0", code=9)
        part = [name for name in self.files() if name.endswith(".part")][0]
        with open(os.path.join(self.folder.name, part), "ab") as file:
            file.write(bytes(len(self.data)))
        self.assert_whole(self.pull("me/tiny"))

    def test_wrong_content_is_removed(self):
        self.hub.wrong = True
        self.pull("me/tiny", code=2, says=["expected the checksum " + loopback_hub.sha256(self.data)])
        self.assertFalse([name for name in self.files() if not name.endswith("/tern.json")])
        self.hub.wrong = False
        self.assert_whole(self.pull("me/tiny"))

    def test_damaged_part_is_found_out(self):
        self.hub.cuts = [500000, 0]
        self.pull("me/tiny", "--retries", "0", code=9)
        part = os.path.join(self.folder.name, [n for n in self.files() if n.endswith(".part")][0])
        with open(part, "r+b") as file:
            file.write(b"not what was there")
        self.pull("me/tiny", code=2, says=["checksum"])
        self.assert_whole(self.pull("me/tiny"))

    def test_hub_that_contradicts_itself(self):
        self.hub.status["/tiny.gguf"] = (302, {"X-Linked-Etag": '"%s"' % ("0" * 64), "Location": self.hub.store_url})
        self.pull("me/tiny", code=2, says=["two checksums"])

    def test_no_length(self):
        self.hub.lengths = False
        self.assert_whole(self.pull("me/tiny"))

    def test_416(self):
        # A file outside the hub, whose part is already whole: the server has nothing after its end.
        url = self.hub.store_url + "/me/tiny/tiny.gguf"
        self.hub.cuts = [len(self.data) - 1, 0]
        self.pull(url, "--retries", "0", code=9)
        part = os.path.join(self.folder.name, [n for n in self.files() if n.endswith(".part")][0])
        with open(part, "ab") as file:
            file.write(self.data[-1:])
        self.assert_whole(self.pull(url, says=["no such part"]))

    def test_other_address(self):
        url = self.hub.store_url + "/me/tiny/tiny.gguf"
        self.environment["HF_TOKEN"] = TOKEN
        right = loopback_hub.sha256(self.data)
        self.pull(url + "?signature=secret", "--sha256", "0" * 64, code=2, says=["checksum"])
        path = self.pull(url + "?signature=secret", "--sha256", right)
        self.assert_whole(path)
        self.assertEqual([e for e in self.hub.log if "Authorization" in e[3]], [])
        self.tern("inspect", url)
        with open(os.path.join(os.path.dirname(path), "tern.json")) as note:
            self.assertNotIn("signature", note.read())
        self.pull("http://example.org/x.gguf", code=2, says=["https"])
        self.pull("https://example.org/x.zip", code=2, says=[".gguf"])
        self.pull("me/tiny", "--sha256", "xyz", code=2, says=["64"])

    def test_interrupt_leaves_a_part(self):
        self.hub.stall = True
        process = self.start("pull", "me/tiny")
        for _ in range(200):
            if any(e[1] == "GET" for e in self.hub.asked("store")):
                break
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("are kept", err)
        self.hub.stall = False
        self.assert_whole(self.pull("me/tiny"))
        self.assertEqual(self.hub.log[-1][3].get("Range"), "bytes=%d-" % (len(self.data) // 2))

    def test_stalled_server(self):
        self.hub.stall = True
        self.pull("me/tiny", "--timeout", "1", "--retries", "0", code=8, says=["silent for 1 s"])

    def test_two_at_once(self):
        self.hub.slow = 1
        one, two = self.start("pull", "me/tiny"), self.start("pull", "me/tiny")
        results = [process.communicate(timeout=30) for process in (one, two)]
        self.assertEqual((one.returncode, two.returncode), (0, 0), results)
        self.assertEqual(results[0][0], results[1][0])
        self.assertEqual(sum("waiting for it" in err for _, err in results), 1)
        self.assertEqual(len(self.hub.asked("store")), 1)

    def test_disk_full(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))
        self.pull("me/tiny", code=2, says=["cannot write"], preexec_fn=limit, restore_signals=False)
        self.assert_whole(self.pull("me/tiny"))


class Neighbours(Case):
    """Other users of the machine, and hubs that name things to do harm."""

    def prepare(self, name, folder="me--tiny--tiny.gguf"):
        victim = os.path.join(self.folder.name, "victim")
        with open(victim, "wb") as file:
            file.write(b"precious")
        os.makedirs(os.path.join(self.folder.name, folder), mode=0o700)
        return victim, os.path.join(self.folder.name, folder, name)

    def assert_precious(self, victim):
        with open(victim, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_links_are_not_followed(self):
        for name in ("tiny.gguf.part", "tiny.gguf.part.json", "tiny.gguf", "tern.json"):
            for make in (os.symlink, os.link):
                with self.subTest(name=name, make=make):
                    victim, planted = self.prepare(name)
                    make(victim, planted)
                    path = self.pull("me/tiny")
                    self.assert_precious(victim)
                    self.assert_whole(path)
                    self.assertFalse(os.path.islink(path))
                    self.tern("rm", "me/tiny")
        victim, _ = self.prepare("x", folder="other")
        os.remove(os.path.join(self.folder.name, ".locks/me--tiny--tiny.gguf"))
        os.symlink(victim, os.path.join(self.folder.name, ".locks/me--tiny--tiny.gguf"))
        self.pull("me/tiny", code=2, says=["link"])
        self.assert_precious(victim)

    def test_a_pipe_in_its_place(self):
        _, planted = self.prepare("tiny.gguf.part")
        os.mkfifo(planted)
        self.assert_whole(self.pull("me/tiny"))

    def test_folders_that_others_can_write(self):
        os.chmod(self.folder.name, 0o777)
        self.pull("me/tiny", code=2, says=["--shared-folder", self.folder.name])
        self.pull("me/tiny", "--shared-folder")
        os.chmod(self.folder.name, 0o1777)  # as /tmp: others cannot touch what is ours
        self.pull("me/tiny")
        os.chmod(self.folder.name, 0o700)
        os.chmod(os.path.join(self.folder.name, "me--tiny--tiny.gguf"), 0o777)
        self.pull("me/tiny", code=2, says=["--shared-folder"])
        if os.geteuid() == 0:
            os.chmod(os.path.join(self.folder.name, "me--tiny--tiny.gguf"), 0o700)
            os.chown(os.path.join(self.folder.name, "me--tiny--tiny.gguf"), 65534, 65534)
            self.pull("me/tiny", code=2, says=["another user"])

    def test_a_folder_that_leads_elsewhere(self):
        target = os.path.join(self.folder.name, "elsewhere")
        os.mkdir(target)
        os.symlink(target, os.path.join(self.folder.name, "me--tiny--tiny.gguf"))
        self.pull("me/tiny", code=2, says=["link"])
        self.assertEqual(os.listdir(target), [])

    def test_what_the_hub_calls_it(self):
        for name in (".locks", "..", "a/../b", ".a/b", "a", "o/n\x1b]0;PWNED\x07", "a/b/c", "-a/b"):
            with self.subTest(name):
                self.hub.info["me/tiny"] = {"id": name}
                _, err = self.tern("pull", "me/tiny", code=2)
                self.assertIn("OWNER/NAME", err)
                self.assertNotIn("\x1b", err)
        self.hub.repos["you/small"] = self.hub.repos["me/tiny"]
        self.hub.info["me/tiny"] = {"id": "you/small"}
        self.pull("me/tiny", says=["me/tiny is called you/small"])

    def test_a_folder_named_as_the_note(self):
        self.hub.repos["me/tiny"] = {"tern.json/tiny.gguf": self.data}
        self.pull("me/tiny", code=2, says=["tern.json"])
        self.hub.repos["me/tiny"] = {"sub/tiny.gguf": self.data}
        self.assert_whole(self.pull("me/tiny"))

    def test_names_that_could_be_each_others(self):
        self.hub.repos["a--b/c"] = {"x.gguf": self.data}
        self.hub.repos["a/b--c"] = {"x.gguf": self.data}
        self.assertNotEqual(self.pull("a--b/c"), self.pull("a/b--c"))


class Access(Case):
    def test_token_stays_with_the_hub(self):
        self.hub.token = TOKEN
        self.environment["HF_TOKEN"] = TOKEN + "\n"
        self.assert_whole(self.pull("me/tiny"))
        self.assertTrue(all(e[3].get("Authorization") == "Bearer " + TOKEN for e in self.hub.asked("hub")))
        self.assertEqual([e for e in self.hub.asked("store") if "Authorization" in e[3]], [])
        for name in self.files():
            with open(os.path.join(self.folder.name, name), "rb") as file:
                self.assertNotIn(TOKEN.encode(), file.read())

    def test_refusals_say_what_to_do(self):
        self.hub.token = TOKEN
        self.pull("me/tiny", code=5, says=["no such model", "HF_TOKEN"])
        self.hub.info["me/tiny"] = {"gated": "manual"}
        self.pull("me/tiny", code=5, says=["Accept its licence at " + self.hub.url + "/me/tiny", "set HF_TOKEN"])
        self.environment["HF_TOKEN"] = "hf_another"
        self.pull("me/tiny", code=5, says=["HF_TOKEN is set"])
        self.environment["HF_TOKEN"] = "two words"
        self.pull("me/tiny", code=2, says=["HF_TOKEN: expected"])
        del self.environment["HF_TOKEN"]
        self.hub.token = None
        self.pull("me/other", code=2, says=["no such model"])
        self.pull("me/tiny:other.gguf", code=2, says=["tiny.gguf  2.47 MB"])
        self.hub.status["/main"] = (429, {"Retry-After": "300"})
        self.pull("me/tiny", code=7, says=["300 s", "HF_TOKEN"])
        self.pull("nonsense", code=2, says=["tern list --all"])
        self.assertEqual([n for n in self.files() if "gguf" in n], [])

    def test_gated_licence_is_named(self):
        self.hub.info["me/tiny"] = {"gated": "auto", "cardData": {"license": "other", "license_name": "my-terms"}}
        self.pull("me/tiny", says=["my-terms", "gated"])

    def test_offline(self):
        self.environment["HF_HUB_OFFLINE"] = "1"
        self.pull("me/tiny", code=2, says=["off"])
        self.assertEqual(self.hub.log, [])
        del self.environment["HF_HUB_OFFLINE"]
        path = self.pull("me/tiny")
        asked = len(self.hub.log)
        self.assertEqual(self.pull("me/tiny", "--offline"), path)
        self.assertEqual(len(self.hub.log), asked)


class Selection(Case):
    def test_several_models(self):
        self.hub.repos["me/tiny"]["sub/tiny-Q4.gguf"] = self.data
        self.pull("me/tiny", code=2, says=["several", "sub/tiny-Q4.gguf"])
        self.assert_whole(self.pull("me/tiny:q4"))
        self.assert_whole(self.pull(self.hub.url + "/me/tiny/resolve/main/tiny.gguf"))
        self.assertEqual(len(json.loads(self.tern("list", "--json")[0])), 2)
        _, err = self.tern("inspect", "me/tiny", code=2)
        self.assertIn("several", err)
        self.tern("rm", "me/tiny:q4")
        self.tern("inspect", "me/tiny")

    def test_split_files(self):
        self.hub.repos["me/tiny"] = {"t-0000%d-of-00002.gguf" % n: self.data[n:] for n in (1, 2)}
        self.pull("me/tiny", says=["2 files", "Tern cannot run this model"])
        self.assertEqual(sum(name.endswith(".gguf") for name in self.files()), 2)
        del self.hub.repos["me/tiny"]["t-00002-of-00002.gguf"]
        self.tern("rm", "me/tiny")
        self.pull("me/tiny", code=2, says=["expected 2 parts"])

    def test_folder(self):
        source = os.path.join(os.path.dirname(__file__), "..", "golden", "hf", "qwen3-f32")
        files = {}
        for name in os.listdir(source):
            with open(os.path.join(source, name), "rb") as file:
                files[name] = file.read()
        self.hub.repos["me/folder"] = {**files, "pytorch_model.bin": b"x", "figures/a.png": b"x"}
        path = self.pull("me/folder", says=["%d files" % len(files)])
        self.assertEqual(set(os.listdir(path)), set(files) | {"tern.json"})
        for name, data in files.items():
            with open(os.path.join(path, name), "rb") as file:
                self.assertEqual(file.read(), data)
        self.tern("inspect", "me/folder")
        self.assertIn("safetensors F32", self.tern("list")[0])


class Catalogue(Case):
    def test_names(self):
        with open(CATALOG) as file:
            model = next(m for m in json.load(file)["models"] if m["name"] == "bitnet-2b-4t")
        self.hub.repos[model["repo"]] = {model["file"]: self.data}
        _, err = self.tern("run", "-m", "bitnet-2b-4t", "x", code=2)
        self.assertIn("tern pull bitnet-2b-4t", err)
        self.pull("bitnet", says=[model["repo"], "-m bitnet-2b-4t"])
        self.tern("inspect", "BitNet-2B-4T")
        self.assertIn("\nbitnet-2b-4t ", self.tern("list")[0])
        self.tern("rm", "bitnet")

    def test_every_entry_is_sound(self):
        with open(CATALOG) as file:
            catalog = json.load(file)
        with open(CATALOG.replace(".json", ".schema.json")) as file:
            schema = json.load(file)["properties"]["models"]["items"]
        types = {"string": str, "boolean": bool, "integer": int, "array": list}
        names = []
        for model in catalog["models"]:
            self.assertLessEqual(set(schema["required"]), set(model), model["name"])
            for key, value in model.items():
                rule = schema["properties"][key]  # no keys that the schema lacks
                self.assertIs(type(value), types[rule["type"]], key)
                texts = value if isinstance(value, list) else [value]
                rule = rule.get("items", rule)
                for text in texts:
                    self.assertRegex(str(text), rule.get("pattern", "."))
                    self.assertGreaterEqual(len(str(text)), rule.get("minLength", 1))
            names += [model["name"], *model["aliases"]]
        self.assertEqual(len(names), len(set(names)))
        listed = {m["name"]: m for m in json.loads(self.tern("list", "--all", "--json")[0])}
        self.assertEqual(set(listed), {m["name"] for m in catalog["models"]})
        # Tern's own word on the architectures that it runs.
        self.hub.repos["me/tiny"]["tiny.gguf"] = self.data.replace(b"bitnet-b1.58", b"bitnet-b1.xx", 1)
        known = self.tern("run", "-m", self.pull("me/tiny"), "x", code=2)[1]
        known = re.search(r"runs \(([^)]*)\)", known).group(1).split(", ")
        for model in catalog["models"]:
            if model["runs"]:
                self.assertIn(model["architecture"], known, model["name"])


if __name__ == "__main__":
    TERN, MODEL, CATALOG = sys.argv[1:4]
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
