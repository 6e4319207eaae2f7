"""The engines that Tern is compared with: where they come from, how fast they are on a file, and what they make of it."""

import json
import os
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def synthesize(tern, shape, layers, kind, path):
    """Writes a random model of a shape (0 layers: all), also of the types that only `tern convert` writes."""
    converted = kind.startswith("iq")
    source = path + ".i2_s" if converted else path
    some = ["--layers", str(layers)] if layers else []
    run([tern, "synth", "--shape", shape, "--type", "i2_s" if converted else kind, "--embedding", "q6_k", *some, "-o", source,
         "--force"])
    if converted:
        run([tern, "convert", source, path, "--type", kind, "--force"])
        os.remove(source)


class Peer:
    """An engine whose packages lie in `folder`, where they come at the first use."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.version = self.install()

    def answer(self, command):
        return json.loads(run(command, cwd=self.folder).strip().splitlines()[-1])

    def speed(self, model, threads, prompt, generated):
        """Tokens a second, once: {"prompt": [x], "generated": [y]}."""
        return self.answer([*self.speed_command, model, str(threads), str(prompt), str(generated), "1"])

    def likeliest(self, model, lists):
        """The likeliest token after each list of tokens."""
        with open(os.path.join(self.folder, "lists.json"), "w") as file:
            json.dump(lists, file)
        return self.answer([*self.greedy_command, model, "lists.json"])


class LlamaCpp(Peer):
    """llama.cpp as the npm package node-llama-cpp, with binaries for the processor at hand; needs node (18 or newer) and npm."""

    name = "llama.cpp"
    package = "node-llama-cpp@3"
    types = "tq2_0,q4_0"
    speed_command = ["node", os.path.join(HERE, "node_llama_cpp.mjs")]
    greedy_command = ["node", os.path.join(HERE, "greedy.mjs")]

    def install(self):
        for program in ("node", "npm"):
            if not shutil.which(program):
                sys.exit(f"{program} is not here: install the packages nodejs and npm")
        modules = os.path.join(self.folder, "node_modules")
        if not os.path.isdir(os.path.join(modules, "node-llama-cpp")):
            print("installing", self.package, file=sys.stderr)
            with open(os.path.join(self.folder, "package.json"), "w") as file:
                json.dump({"private": True}, file)
            run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", self.package], cwd=self.folder)
        with open(os.path.join(modules, "node-llama-cpp", "package.json")) as file:
            return "node-llama-cpp " + json.load(file)["version"]


class IkLlamaCpp(Peer):
    """ik_llama.cpp as the PyPI package ik-llama-cpp-python, in a virtual environment of its own."""

    name = "ik_llama.cpp"
    package = "ik-llama-cpp-python==0.1.5"
    types = "iq2_bn"

    def install(self):
        environment = os.path.join(self.folder, "ik")
        self.python = os.path.join(environment, "bin", "python")
        if not os.path.exists(os.path.join(environment, "installed")):
            print("installing", self.package, file=sys.stderr)
            venv.create(environment, clear=True, with_pip=True)
            run([self.python, "-m", "pip", "install", "-q", self.package])
            open(os.path.join(environment, "installed"), "w").close()
        worker = [self.python, os.path.join(HERE, "ik_worker.py")]
        self.speed_command, self.greedy_command = [*worker, "speed"], [*worker, "greedy"]
        return self.package.replace("==", " ")


PEERS = {peer.name: peer for peer in (LlamaCpp, IkLlamaCpp)}
