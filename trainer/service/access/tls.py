"""The service's certificate and key, checked before it listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.settings import TlsFiles

_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Tls:
    """What a server presents, and what its own runners need to verify it.

    Attributes:
        chain: the certificate and its chain, PEM.
        certificate: the first of them alone. Runners trust this one and no other.
        name: a host name that the certificate is for.
        client_ca: the CA of the certificates that callers must have; empty asks for none.
    """

    chain: bytes
    key: bytes = field(repr=False)
    certificate: str
    name: str
    client_ca: bytes = b""

    @classmethod
    def read(cls, files: TlsFiles) -> Tls:
        """
        Raises:
            UsageError: a file cannot be read, or the files do not belong together.
        """
        chain, key = _read("--tls-cert", files.certificate), _read("--tls-key", files.key)
        client_ca = b"" if files.client_ca is None else _read("--tls-client-ca", files.client_ca)
        if files.client_ca is not None:
            _load_ca(files.client_ca)
        begin, text = chain.find(_PEM_BEGIN.encode()), chain.decode("ascii", "replace")
        end = text.find(_PEM_END)
        if begin < 0 or end < 0:
            raise UsageError(f"--tls-cert {str(files.certificate)!r} is not a certificate (PEM)")
        certificate = text[begin : end + len(_PEM_END)] + "\n"
        return cls(chain, key, certificate, _name(files, certificate), client_ca)

    def credentials(self, ask_for_certificate: bool) -> grpc.ServerCredentials:
        """The credentials of a port, which asks callers for a certificate if there is a CA."""
        asks = bool(self.client_ca) and ask_for_certificate
        return grpc.ssl_server_credentials(
            [(self.key, self.chain)], self.client_ca if asks else None, asks
        )


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {str(path)!r} cannot be read: {error.strerror}") from None


def _load_ca(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except (OSError, ValueError):
        raise UsageError(f"--tls-client-ca {str(path)!r} is not a certificate (PEM)") from None


def _name(files: TlsFiles, certificate: str) -> str:
    """A host name of the certificate.

    A handshake in memory checks that key and certificate fit and that it is valid today.
    """
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    where = f"--tls-cert {str(files.certificate)!r}"
    try:
        # A password would be asked for at the terminal.
        server_side.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        client_side.load_verify_locations(cadata=certificate)
        found = _shake_hands(client_side, server_side)
    except ssl.SSLCertVerificationError as error:
        raise UsageError(f"{where} cannot be used: {error.verify_message}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"{where} and --tls-key {str(files.key)!r} cannot be used together: {reason}"
        ) from None
    for kind in ("DNS", "IP Address"):
        for found_kind, name in found.get("subjectAltName", ()):
            if found_kind == kind:
                return str(name).replace("*", "service")
    raise UsageError(f"{where} names no host; make one with a subjectAltName")


def _shake_hands(client_side: ssl.SSLContext, server_side: ssl.SSLContext) -> dict[str, Any]:
    """The certificate that the server shows, in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(down, up)
    server = server_side.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    for _ in range(10):  # TLS 1.3 takes two rounds
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    if waiting:
        raise ValueError("no handshake")
    return dict(client.getpeercert() or {})
