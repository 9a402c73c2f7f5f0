"""The text of access tokens."""

from __future__ import annotations

import pytest

from sumgrad.trainer.token_format import id_and_secret, token_text

ID, SECRET = "0123456789ab", "f" * 64


def test_a_token_is_read_as_it_was_written() -> None:
    assert id_and_secret(token_text(ID, SECRET)) == (ID, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"sgt_{ID}_{SECRET}\n",
        f" sgt_{ID}_{SECRET}",
        f"sgt_{ID}_{SECRET}0",
        f"sgt_{ID[:-1]}_{SECRET}",
        f"sgt_{ID.upper()}_{SECRET}",
        f"xyz_{ID}_{SECRET}",
    ],
)
def test_other_text_is_no_token(text: str) -> None:
    assert id_and_secret(text) is None
