"""docs/api.md names every method, error and limit as the code has them."""

from __future__ import annotations

import re
from dataclasses import fields

from sumgrad.trainer.client.errors import REASONS
from sumgrad.trainer.service.api.refusals import CODES, RUNNER_CODES, reason
from sumgrad.trainer.service.settings import ConnectionLimits
from sumgrad.trainer.service.settings_table import table
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import service_pb2

from support.repository import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def error_rows() -> list[str]:
    kinds = {name: f"`{kind.__name__}`" for name, kind in REASONS.items()}
    kinds[reason(InvalidSpecError)] = f"`{InvalidSpecError.__name__}`"
    kinds |= {reason(kind): "only runners receive it" for kind in RUNNER_CODES}
    return [
        f"| `{reason(kind)}` | {code.name} | {kinds[reason(kind)]} |"
        for kind, code in sorted(CODES.items(), key=lambda item: reason(item[0]))
    ]


def limit_rows() -> list[str]:
    settings = [table()[name] for name in ("max_calls", "max_streams")]
    return [
        *(f"| `{s.name}` | {s.default:,} | `{s.flag}` |" for s in settings),
        *(f"| `{limit.name}` | {limit.default:,} |  |" for limit in fields(ConnectionLimits)),
    ]


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")][-100:]


def test_the_page_has_every_error() -> None:
    assert rows(section("Errors")) == error_rows()


def test_the_page_has_every_limit() -> None:
    assert [row for row in rows(section("Limits")) if "default" not in row] == limit_rows()


def test_the_page_has_every_method() -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", PAGE.split("\n## ")[0]))
    methods = service_pb2.DESCRIPTOR.services_by_name["TrainerService"].methods_by_name
    assert named == set(methods)
