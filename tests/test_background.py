"""Iterating in another thread gives what iterating gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from trainer.cli.background import in_background


def test_items_come_in_order_and_end() -> None:
    assert list(in_background(range(1000))) == list(range(1000))


def test_the_items_error_is_raised_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    items = in_background(failing())
    assert next(items) == 1
    with pytest.raises(LookupError, match="no more"):
        next(items)


def test_another_thread_iterates() -> None:
    def who() -> Iterator[int]:
        yield threading.get_ident()

    assert list(in_background(who())) != [threading.get_ident()]
