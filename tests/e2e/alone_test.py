#!/usr/bin/env python3
"""The program copied alone, without a home folder, and beside files that another user has put there.

    alone_test.py path/to/tern path/to/small.gguf
"""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

import program

TERN = MODEL = ""
STRANGER = 54321  # a user whom the password database does not know


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tern-alone-")
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)
        self.environment = {**os.environ, "HOME": self.path("home")}
        os.mkdir(self.path("home"))

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def write(self, path, content):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        os.chmod(path, 0o644)
        return path

    def tern(self, *arguments, tern=None, code=0, **more):
        done = subprocess.run([tern or TERN, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, **{"env": self.environment, **more})
        if code is not None:
            self.assertEqual(done.returncode, code, done.stderr)
        return done


EVIL = {"providers": [{"name": "openai", "base_url": "https://evil.example/v1", "default_model": "m"}]}


class Alone(Case):
    """Only the program was copied; every folder above it holds files of the names that it once looked for."""

    def setUp(self):
        super().setUp()
        self.alone = self.path("a", "b", "c", "bin", "tern")
        os.makedirs(os.path.dirname(self.alone))
        shutil.copy(TERN, self.alone)
        above = os.path.dirname(self.alone)
        while above != self.folder.name:
            for name in ("remote/providers.json", "share/tern/providers.json", "providers.json"):
                self.write(os.path.join(above, name), EVIL)
            for name in ("models/catalog.json", "tools/bench_plot.py"):
                self.write(os.path.join(above, name), "damaged")
            if above != self.path("a", "b", "c"):
                self.write(os.path.join(above, "share/tern/tern-tiny.gguf"), "damaged")
            self.write(os.path.join(above, "models/tern-tiny.gguf"), "damaged")
            above = os.path.dirname(above)

    def test_what_it_needs_is_in_the_program(self):
        self.assertIn("bitnet-2b-4t", self.tern("list", "--all", tern=self.alone).stdout)
        self.assertIn("holysheep", self.tern("cost", "--plan", "--tokens", "1M", "--speed", "20", tern=self.alone).stdout)
        providers = self.tern("remote", "providers", tern=self.alone).stdout
        self.assertIn("https://api.openai.com/", providers)
        self.assertNotIn("evil.example", providers)
        route = self.tern("route", "--route", "openai", "--allow-remote", "hello", tern=self.alone, code=None)
        self.assertNotIn("evil.example", route.stdout + route.stderr)
        self.assertNotIn("install it again", route.stderr)

    def test_the_default_model_lies_in_share_or_nowhere(self):
        done = self.tern("run", "-n", "1", "Once", tern=self.alone, code=2)
        self.assertIn("-m FILE", done.stderr)
        shutil.copy(MODEL, self.path("a", "b", "c", "share", "tern", "tern-tiny.gguf"))
        self.tern("run", "-n", "1", "Once", tern=self.alone)


class NoHome(Case):
    def setUp(self):
        super().setUp()
        del self.environment["HOME"]
        self.write(self.path(".config", "tern", "config.json"), {"route": "evil", "allow_remote": True})
        self.write(self.path(".config", "tern", "providers.json"),
                   {"providers": [{"name": "evil", "base_url": "http://127.0.0.1:9/v1", "default_model": "m"}]})

    def places(self):
        """Where Tern looks for models, from a folder that looks like a home."""
        return self.tern("list", cwd=self.folder.name).stderr

    def test_the_password_database_names_it(self):
        home = pwd.getpwuid(os.geteuid()).pw_dir
        self.assertIn(os.path.join(home, ".cache", "tern", "models"), self.places() + self.tern("list").stdout)
        for value in ("", "relative", "."):
            self.environment["HOME"] = value
            self.assertNotIn(" ./", self.places())
            self.assertNotIn("relative/", self.places())

    def test_the_working_folder_is_never_a_home(self):
        for more in ({}, {"HOME": "."}, {"XDG_CONFIG_HOME": ".config"}):
            self.environment.update(more)
            done = self.tern("remote", "providers", cwd=self.folder.name, code=None)
            self.assertNotIn("evil", done.stdout + done.stderr)

    def test_relative_xdg_folders_are_ignored(self):
        self.environment.update(HOME=self.path("home"), XDG_CONFIG_HOME=".config", XDG_CACHE_HOME="cache", XDG_STATE_HOME="state")
        self.assertNotIn("evil", self.tern("remote", "providers", cwd=self.folder.name).stdout)
        self.assertIn(self.path("home", ".cache", "tern", "models"), self.places())
        self.assertIn(self.path("home", ".local", "state"), self.tern("cost", cwd=self.folder.name).stdout)

    @unittest.skipUnless(os.geteuid() == 0, "only root can play a user without an entry")
    def test_a_user_without_a_home_keeps_nothing(self):
        writable = self.path("w")
        os.mkdir(writable)
        os.chmod(writable, 0o777)
        os.chmod(self.folder.name, 0o755)
        copy = shutil.copy(TERN, self.path("tern"))
        model = shutil.copy(MODEL, self.path("m.gguf"))
        as_stranger = {"tern": copy, "cwd": writable, "user": STRANGER, "group": STRANGER, "extra_groups": []}
        self.tern("run", "-m", model, "-n", "1", "Once", **as_stranger)
        self.assertIn("no home folder", self.tern("pull", "bitnet-2b-4t", code=2, **as_stranger).stderr)
        self.assertIn("no home folder", self.tern("cost", code=3, **as_stranger).stderr)
        self.assertIn("no home folder", self.tern("tune", code=2, **as_stranger).stderr)
        self.tern("list", **as_stranger)
        self.assertEqual(os.listdir(writable), [])


class OwnSettings(Case):
    """What decides where prompts and keys go is read only from files that no other user can have written."""

    def setUp(self):
        super().setUp()
        self.files = {
            "config.json": self.write(self.path("home", ".config", "tern", "config.json"), {"route": "local"}),
            "providers.json": self.write(self.path("home", ".config", "tern", "providers.json"), {"providers": []}),
        }

    def test_files_that_others_can_write_are_refused(self):
        self.tern("remote", "providers")
        for name, path in self.files.items():
            for mode in (0o646, 0o666):
                os.chmod(path, mode)
                done = self.tern("remote", "providers", code=2)
                for words in (path, "other users can write", "chmod go-w"):
                    self.assertIn(words, done.stderr)
            os.chmod(path, 0o600)
            self.tern("remote", "providers")

    @unittest.skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_files_of_others_are_refused(self):
        for path in self.files.values():
            os.chown(path, STRANGER, STRANGER)
            self.assertIn("another owner", self.tern("remote", "providers", code=2).stderr)
            os.chown(path, 0, 0)
            os.chown(path, 0, STRANGER)
            os.chmod(path, 0o664)  # a group that is not the user's own
            self.assertIn("other users can write", self.tern("remote", "providers", code=2).stderr)
            os.chown(path, 0, 0)
            os.chmod(path, 0o644)

    def test_a_pipe_in_their_place_does_not_hang(self):
        os.remove(self.files["config.json"])
        os.mkfifo(self.files["config.json"])
        self.assertTrue(stat.S_ISFIFO(os.stat(self.files["config.json"]).st_mode))
        self.assertIn("expected a regular file", self.tern("remote", "providers", code=2).stderr)


if __name__ == "__main__":
    TERN, MODEL = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
