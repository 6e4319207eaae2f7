#!/usr/bin/env python3
"""Writes expected.json: what jinja2 makes of this folder's templates and expressions.

    python3 make_templates.py        (needs jinja2, Debian: python3-jinja2)

jinja/*.jinja are our own; each exercises what the published templates of one family use. Every one is rendered with
every conversation of conversations.py. expressions.txt holds single cases, divided by lines "@@", rendered with VARIABLES.
A text of null: jinja2 refuses.
"""

import json
import pathlib

import hf_jinja
from conversations import CONTEXTS, TALK

HERE = pathlib.Path(__file__).parent

VARIABLES = {
    "messages": TALK,
    "x": 5,
    "f": 1e20,
    "s": "a b  c",
    "u": "Größe 世界",
    "d": {"b": 2, "a": 1, "items": 3, "C": None},
    "l": [3, 1, 2],
    "nested": [{"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {}}],
    "nothing": None,
}


def main():
    templates = {}
    for path in sorted((HERE / "jinja").glob("*.jinja")):
        source = path.read_text()
        templates[path.stem] = {name: hf_jinja.render(source, context) for name, context in CONTEXTS.items()}
    cases = (HERE / "expressions.txt").read_text().removesuffix("\n").split("\n@@\n")
    expressions = [{"source": case, "text": hf_jinja.render(case, VARIABLES)} for case in cases]
    golden = {"contexts": CONTEXTS, "templates": templates, "variables": VARIABLES, "expressions": expressions}
    (HERE / "expected.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
