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

from sumgrad.trainer.service.cluster.local_ray import free_port
from sumgrad.trainer.service.cluster.ray_api import RayApi, RayError

from support.waiting import eventually

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
    """A head and other nodes, that come and go.

    Args:
        network: where nodes get addresses of their own; None has all of them share the host's.
        hidden: a folder that no node sees, as if it were on another machine.
        code: packages that the Python of every node has.

    Attributes:
        dashboard: URL, the same for each head that is started after the other.
        token, environment: what a caller needs to be let in, the latter as variables.
    """

    def __init__(
        self, folder: Path, network: Network | None, hidden: Path | None, code: Path
    ) -> None:
        self.folder = folder
        self._network = network
        self._hidden = hidden
        self._code = code
        self._port = free_port()
        self._commands: list[subprocess.Popen[bytes]] = []
        self.dashboard = f"http://127.0.0.1:{self._port}"
        self.token = secrets.token_hex(32)
        file = folder / "token"
        file.write_text(self.token)
        self.environment = SETTINGS | {"RAY_AUTH_TOKEN_PATH": str(file)}
        self.api = RayApi(self.dashboard, {"Authorization": f"Bearer {self.token}"})

    def start(self, head: int, **nodes: int) -> None:
        """Have a head that takes jobs, and other nodes by name, with so many CPUs each."""
        address = [f"--node-ip-address={self._network.head}"] if self._network else []
        log = self._start(
            "head",
            [
                *("--head", "--port=0", "--no-monitor", *address),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={self._port}"),
                f"--ray-client-server-port={free_port()}",
            ],
            head,
            [],
        )

        def joins() -> str:
            assert self._commands[-1].poll() is None, log.read_text()
            told = log.read_text()
            return told.partition("ray start --address='")[2].partition("'")[0]

        joined = f"--address={eventually(joins, START_SECONDS)}"
        for name, count in nodes.items():
            options, within = [joined], []
            if self._network is not None:
                space, own = self._network.host()
                options.append(f"--node-ip-address={own}")
                within = ["ip", "netns", "exec", space]
            self._start(name, options, count, within)
        eventually(lambda: self._has(1 + len(nodes)), START_SECONDS)

    def _blinded(self) -> list[str]:
        if self._hidden is None:
            return []
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._hidden)]

    def _has(self, nodes: int) -> bool:
        """Whether there are so many, and jobs are taken."""
        try:
            return self.api.status("none") is None and len(self.api.cpus()) == nodes
        except RayError:
            return False

    def _start(self, name: str, options: list[str], cpus: int, within: list[str]) -> Path:
        log = self.folder / f"{name}.log"
        place = tempfile.mkdtemp(prefix=name, dir=self.folder)
        ours = ("RAY_", "PYTHONPATH", "SUMGRAD_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {
            "PATH": binaries,
            "PYTHONPATH": str(self._code),
            "TMPDIR": str(self.folder),
            "SUMGRAD_STATE": str(self.folder / "nodes"),
            MARK: f"{self.folder}/{name}",
        }
        with log.open("wb") as file:
            command = subprocess.Popen(
                [
                    *within,
                    *self._blinded(),
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
                env=inherited | self.environment | own,
                # Jobs begin there, and Python looks there first for packages.
                cwd=self.folder,
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
def ray_nodes(folder: Path, hidden: Path, code: Path) -> Iterator[RayNodes]:
    """A cluster that is started by its user; nothing of it is left behind."""
    with contextlib.ExitStack() as stack:
        network = None if why_no_network() else Network()
        if network is not None:
            stack.callback(network.close)
        nodes = RayNodes(folder, network, None if network is None else hidden, code)
        stack.callback(nodes.kill)
        yield nodes
