"""Write what follows from the table of settings: docs/serve.toml and the table in the docs.

``--check`` changes nothing and fails where a file is not as it would be written.
"""

from __future__ import annotations

import json
import sys
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any

from sumgrad.trainer.service.settings_table import Setting, table

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE, PAGE = DOCS / "serve.toml", DOCS / "command-line.md"
BEGIN = "<!-- settings: written by tools/generate_settings.py -->\n"
END = "<!-- end of settings -->\n"

WIDTH = 97

HEAD = """\
# All settings of `sumgrad serve --config serve.toml`. Those with a default show it; the others show
# an example. Options count before variables, and variables before this file.
# This file is written by tools/generate_settings.py.
"""


def example() -> str:
    """The commented file: every setting with what it means."""
    text = HEAD
    for group, settings in groupby(table().values(), lambda setting: setting.option.group):
        text += f"\n# --- {group} ---\n"
        text += "".join(map(_entry, settings))
    return text


def _entry(setting: Setting) -> str:
    value = setting.default if setting.default is not None else setting.option.example
    lines = textwrap.wrap(setting.description, WIDTH)
    if setting.default is None:
        lines += textwrap.wrap(f"Default: {setting.option.default}.", WIDTH)
    return "\n" + "".join(f"# {line}\n" for line in lines) + f"# {setting.name} = {_toml(value)}\n"


def _toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists of strings are TOML's.
    return json.dumps(value, ensure_ascii=False)


def markdown() -> str:
    """The table of options, keys, variables and defaults."""
    lines = ["| option | key in the file | variable | default |", "|---|---|---|---|"]
    for setting in table().values():
        default = setting.option.default or f"`{_toml(setting.default)}`"
        lines.append(f"| `{setting.flag}` | `{setting.name}` | `{setting.variable}` | {default} |")
    return "\n".join(lines) + "\n"


def page(before: str) -> str:
    """The page with the table in its place."""
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no place for the table: {BEGIN!r} … {END!r}")
    return f"{head}{BEGIN}{markdown()}{END}{tail}"


def main(arguments: list[str]) -> int:
    wanted = {EXAMPLE: example(), PAGE: page(PAGE.read_text("utf-8"))}
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in wrong:
        if arguments == ["--check"]:
            print(f"{path} is not as tools/generate_settings.py writes it; run it", file=sys.stderr)
        else:
            path.write_text(wanted[path], "utf-8")
    return 1 if wrong and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
