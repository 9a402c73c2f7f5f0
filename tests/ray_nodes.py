"""A Ray cluster of several nodes on this machine, each a `ray start` of its own.

Where the machine allows it, nodes have their own network: an address, a loopback and abstract
sockets that no other node sees. What a node runs is known by a variable in its environment, so a
node is killed as a host is, with everything on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conftest import eventually

from trainer.service.local_ray import free_port
from trainer.service.ray_api import RayApi, RayError

START_SECONDS = 60.0
END_SECONDS = 30.0
COMMAND_SECONDS = 20.0
MARK = "SUMGRAD_TEST_NODE"

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    # A dead node is missed in seconds, not in half a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "5000",
}


class Network:
    """A bridge, and network namespaces whose only way out is the bridge."""

    def __init__(self) -> None:
        self._id = f"sg{secrets.token_hex(3)}"
        # Of the block that is set aside for tests between networks.
        self._prefix = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
        self._spaces: list[str] = []
        self.head = f"{self._prefix}.1"
        _ip("link", "add", self._id, "type", "bridge")
        try:
            _ip("addr", "add", f"{self.head}/24", "dev", self._id)
            _ip("link", "set", self._id, "up")
        except BaseException:
            self.close()
            raise

    def host(self) -> tuple[str, str]:
        """A new namespace: its name, and its address."""
        number = len(self._spaces) + 2
        space, outside, inside = (f"{self._id}{kind}{number}" for kind in "noi")
        _ip("netns", "add", space)
        self._spaces.append(space)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
        _ip("link", "set", outside, "master", self._id, "up")
        address = f"{self._prefix}.{number}"
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", inside)
        _ip("-n", space, "link", "set", inside, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        return space, address

    def close(self) -> None:
        for space in self._spaces:
            with contextlib.suppress(OSError):
                _ip("netns", "del", space)
        _ip("link", "del", self._id)


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(
            ["ip", *arguments], check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise OSError(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from None


class RayNodes:
    """A head without CPUs of its own at first, and nodes that come and go.

    Args:
        network: where nodes get addresses of their own; None has all of them share the host's.
        hidden: a folder that no node sees, as if it were on another machine.

    Attributes:
        dashboard: URL, the same for each head that is started after the other.
        token, environment: what a caller needs to be let in, the latter as variables.
    """

    def __init__(self, folder: Path, network: Network | None, hidden: Path | None) -> None:
        self.folder = folder
        self._network = network
        self._hidden = hidden
        self._port = free_port()
        self._address = ""
        self._commands: list[subprocess.Popen[bytes]] = []
        self.dashboard = f"http://127.0.0.1:{self._port}"
        self.token = secrets.token_hex(32)
        file = folder / "token"
        file.write_text(self.token)
        self.environment = SETTINGS | {"RAY_AUTH_TOKEN_PATH": str(file)}
        self.api = RayApi(self.dashboard, {"Authorization": f"Bearer {self.token}"})

    def start_head(self, cpus: int = 0, code: Path | None = None) -> None:
        """Have a head that takes jobs; with ``code``, its Python has these packages."""
        address = [f"--node-ip-address={self._network.head}"] if self._network else []
        log = self._start(
            "head",
            [
                *("--head", "--port=0", *address),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={self._port}"),
                f"--ray-client-server-port={free_port()}",
            ],
            cpus,
            self._blinds(),
            {} if code is None else {"PYTHONPATH": str(code)},
        )

        def joins() -> str:
            assert self._commands[-1].poll() is None, log.read_text()
            told = log.read_text()
            return told.partition("ray start --address='")[2].partition("'")[0]

        self._address = eventually(joins, START_SECONDS)
        eventually(lambda: self._answers() and len(self.api.cpus()) == 1, START_SECONDS)

    def _blinds(self) -> list[str]:
        if self._hidden is None:
            return []
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._hidden)]

    def _answers(self) -> bool:
        try:
            return self.api.status("none") is None
        except RayError:
            return False

    def start(self, **cpus: int) -> None:
        """Have more nodes on this host, by name."""
        before = len(self.api.cpus())
        for name, count in cpus.items():
            self._start(name, [f"--address={self._address}"], count, [], {})
        eventually(lambda: len(self.api.cpus()) == before + len(cpus), START_SECONDS)

    def start_hosts(self, **cpus: int) -> None:
        """Have more nodes, each with a network of its own."""
        assert self._network is not None
        before = len(self.api.cpus())
        for name, count in cpus.items():
            space, address = self._network.host()
            options = [f"--address={self._address}", f"--node-ip-address={address}"]
            self._start(name, options, count, ["ip", "netns", "exec", space], {})
        eventually(lambda: len(self.api.cpus()) == before + len(cpus), START_SECONDS)

    def _start(
        self, name: str, options: list[str], cpus: int, within: list[str], more: dict[str, str]
    ) -> Path:
        log = self.folder / f"{name}.log"
        place = tempfile.mkdtemp(prefix=name, dir=self.folder)
        ours = ("RAY_", "PYTHONPATH", "SUMGRAD_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {
            "PATH": binaries,
            "TMPDIR": str(self.folder),
            "SUMGRAD_STATE": str(self.folder / "nodes"),
            MARK: f"{self.folder}/{name}",
        }
        with log.open("wb") as file:
            command = subprocess.Popen(
                [
                    *within,
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options),
                    *("--dashboard-agent-listen-port=0", "--include-log-monitor=false"),
                    *("--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"),
                    *(f"--num-cpus={cpus}", f"--object-store-memory={80 * 2**20}"),
                    # Nodes that start at once on one file system would choose the same names.
                    f"--temp-dir={place}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=inherited | self.environment | own | more,
                start_new_session=True,
            )
        self._commands.append(command)
        return log

    def kill(self, *names: str) -> None:
        """Kill everything on these nodes at once, or on all."""

        def gone() -> bool:
            found = [pid for pid, node in self._marked() if node in names or not names]
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            # A dead command is a child to be waited for.
            self._commands = [c for c in self._commands if c.poll() is None]
            return not found and (bool(names) or not self._commands)

        eventually(gone, END_SECONDS)

    def processes(self) -> list[tuple[str, str]]:
        """Node and command line of all that runs."""
        found = []
        for pid, node in self._marked():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                found.append((node, line.replace(b"\0", b" ").decode()))
        return found

    def _marked(self) -> Iterator[tuple[int, str]]:
        """Every process, zombies aside, and its node."""
        start = f"{MARK}={self.folder}/".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            for entry in environment:
                if entry.startswith(start):
                    yield int(process.name), entry.removeprefix(start).decode()


def why_no_network() -> str:
    """Why nodes cannot have networks of their own here; empty if they can."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return "network namespaces need root and iproute2's `ip`"
    try:
        network = Network()
    except OSError as error:
        return f"this machine allows no network namespaces: {error}"
    try:
        network.host()
    except OSError as error:
        return f"this machine allows no network namespaces: {error}"
    finally:
        network.close()
    return ""


@contextlib.contextmanager
def ray_nodes(folder: Path, hidden: Path) -> Iterator[RayNodes]:
    """A cluster with a head; nothing of it is left behind."""
    with contextlib.ExitStack() as stack:
        network = None if why_no_network() else Network()
        if network is not None:
            stack.callback(network.close)
        nodes = RayNodes(folder, network, hidden if network is not None else None)
        stack.callback(nodes.kill)
        nodes.start_head()
        yield nodes
