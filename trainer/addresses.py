"""Addresses, host:port: where services listen unless told otherwise, and who reaches them."""

from __future__ import annotations

import ipaddress

from sumgrad.trainer.errors import UsageError

DEFAULT_ADDRESS = "127.0.0.1:7433"


DEFAULT_METRICS_ADDRESS = "127.0.0.1:7434"


def host_and_port(address: str) -> tuple[str, int]:
    """``127.0.0.1:7433`` or ``[::1]:7433`` in two parts.

    Raises:
        UsageError: it has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{address!r} is not host:port, like {DEFAULT_ADDRESS}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address.

    Raises:
        UsageError: it is not host:port.
    """
    host, _ = host_and_port(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(address: str) -> bool:
    """Whether an address is every one of a machine's, like 0.0.0.0, and so leads nowhere.

    Raises:
        UsageError: it is not host:port.
    """
    host, _ = host_and_port(address)
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
