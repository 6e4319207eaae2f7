#!/usr/bin/env python3
"""Renders the chat templates of published models with jinja2 and with Tern, and compares the texts.

    python3 compare_real.py build/dev/tests/jinja_render [--templates FOLDER]

The templates are other people's and are not part of this repository: they come out of two packages of PyPI (80 MB),
llama-cpp-python (the folder models/templates of llama.cpp) and axolotl, or out of any folder of *.jinja files. Needs
jinja2, and pip for the packages. Ends with 1 if any text differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import hf_jinja
from conversations import CONTEXTS

# Tern takes no part in jinja2's HTML escaping, which sets in where a template joins `x|safe` to a text.
KNOWN = {"meetkai-functionary-medium-v3.1.jinja": "text joined to the filter safe comes out with &#34; for quotes"}


def download(folder):
    """The text of every template of the two packages, by its name."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*pip, "--no-binary", ":all:", "llama-cpp-python"], check=True)
    subprocess.run([*pip, "--only-binary", ":all:", "axolotl"], check=True)
    return read_packages(pathlib.Path(folder))


def read_packages(folder):
    found = {}
    for path in folder.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".jinja"):
                    found["llama.cpp/" + pathlib.Path(member.name).name] = archive.extractfile(member).read().decode()
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".jinja"):
                    found["axolotl/" + pathlib.Path(name).name] = archive.read(name).decode()
    return found


def render_ours(program, source, folder):
    """One text or error per context, in the order of CONTEXTS."""
    template = folder / "template.jinja"
    template.write_bytes(source.encode())
    contexts = []
    for name, context in CONTEXTS.items():
        contexts.append(folder / f"{name}.json")
        contexts[-1].write_text(json.dumps(context))
    run = subprocess.run([program, template, *contexts], capture_output=True, check=True)
    return json.loads(run.stdout)


def first_difference(theirs, ours):
    """The two texts from a little before the place where they part."""
    if theirs is None or isinstance(ours, dict):
        return f"  jinja2: {theirs!r:.200}\n  tern:   {ours!r:.200}"
    at = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), min(len(theirs), len(ours)))
    begin = max(at - 30, 0)
    return f"  jinja2: ...{theirs[begin:at + 60]!r}\n  tern:   ...{ours[begin:at + 60]!r}"


def compare(program, templates):
    """Prints each difference; gives the number of templates that differ."""
    texts = refusals = 0
    differing = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, source in sorted(templates.items()):
            differences = []
            for context, ours in zip(CONTEXTS, render_ours(program, source, pathlib.Path(scratch))):
                theirs = hf_jinja.render(source, CONTEXTS[context])
                failed = isinstance(ours, dict)
                if theirs is None and failed:
                    refusals += 1
                elif failed or ours != theirs:
                    differences.append((context, theirs, ours))
                else:
                    texts += 1
            if differences and name.split("/")[-1] in KNOWN:
                print(f"{name}, {len(differences)} conversations: known to differ: {KNOWN[name.split('/')[-1]]}")
                continue
            if differences:
                differing.append(name)
            for context, theirs, ours in differences:
                print(f"{name}, {context}:\n" + first_difference(theirs, ours))
    print(f"{len(templates)} templates x {len(CONTEXTS)} conversations: {texts} texts equal, {refusals} refused by both, "
          f"{len(differing)} templates differ in a way not known{': ' if differing else ''}{' '.join(differing)}")
    return len(differing)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("program", help="the built jinja_render")
    parser.add_argument("--templates", type=pathlib.Path, help="a folder of *.jinja files or of the two packages")
    arguments = parser.parse_args()
    if arguments.templates:
        templates = {path.name: path.read_text() for path in arguments.templates.rglob("*.jinja")}
        templates.update(read_packages(arguments.templates))
    else:
        with tempfile.TemporaryDirectory() as folder:
            templates = download(folder)
    if len(templates) < 20:
        sys.exit(f"expected at least 20 templates, found {len(templates)}")
    sys.exit(1 if compare(arguments.program, templates) else 0)


if __name__ == "__main__":
    main()
