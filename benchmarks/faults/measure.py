"""What faults cost: `python -m benchmarks.faults [--seconds S] [--trials N] [--json FILE]`.

Real processes of a real service and its Ray, really killed. Three questions:

- Recovery: from a kill to the next step that is applied. Both moments are read from the run's
  journal of faults, which is written to the disk as they pass: the kill is a fault, and so is a
  pause of a microsecond after a step is applied. What no fault can kill (Ray's head, the
  service) is killed from here, by the same clock.
- Throughput while a worker is killed every ten seconds, over the throughput of the same run before
  and after with no kill. The time of a run is from its first applied step to its stored end, so it
  has the waits, the restarts and the evaluations in it.
- What a snapshot takes from the training of MNIST (or of noise of its shape): many of them in a
  run, against none, in turn.

Every disturbed run must end with the digest of the undisturbed one, or the benchmark stops. Prints
Markdown, then every bound that is broken; the exit code is 1 if one is.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from sumgrad.trainer.client import read_spec
from sumgrad.trainer.v1 import run_pb2

from benchmarks import environment
from benchmarks.lab import Course, Document, Lab, lab, train

MNIST_MLP = Path(__file__).parents[2] / "examples" / "mnist-mlp.toml"

MNIST_NOISE = {"type": "noise", "shape": [28, 28, 1], "rows": 60_000, "classes": 10}

KILL_SECONDS = 10.0
"""Between two kills of workers, where they are killed again and again."""

CALIBRATION_STEPS = 4000

MARGIN = 1.3
"""The run with kills is so much longer than it must be, because a short run tells its length only
roughly."""

LEAST_RATIO = 0.8
"""Of the throughput without kills, with a worker killed every KILL_SECONDS."""

STEP = 1000
"""Between two faults in the runs whose recovery is measured."""

SNAPSHOT_STEPS = 200
"""Between two snapshots in these runs."""

OFTEN_STEPS = 20
"""Between two snapshots, where their cost is measured."""

WORKER = r"^ray::_Worker\.work"
RUNNER = r"^\S*python\S* -m sumgrad\.trainer\.runner"
HEAD = r"^\S*gcs_server "


def specification(steps: int, workers: int, *faults: Document) -> Document:
    """784-128-10 at batch 128; the first step that each parameter server applies is noted."""
    return {
        "name": "faults",
        "data": {"type": "noise", "shape": [28, 28, 1], "rows": 8192, "classes": 10},
        "model": {
            "layers": [{"type": "affine_relu", "units": 128}, {"type": "affine", "units": 10}],
            "loss": "cross_entropy",
        },
        "train": {
            "steps": steps,
            "batch_size": 128,
            "shards": 2,
            "update": {"rule": "momentum", "learning_rate": 0.01},
        },
        "workers": {"count": workers},
        "snapshots": {"every_steps": SNAPSHOT_STEPS},
        "faults": [noted(1, every_attempt=True), *faults],
    }


def kill(target: str, step: int, point: str) -> Document:
    return {"target": target, "step": step, "point": point, "action": "kill"}


def noted(step: int, every_attempt: bool = False) -> Document:
    """A fault that does no more than to note in the journal when this step has been applied."""
    return {
        "target": "server",
        "step": step,
        "point": "applied",
        "action": "delay",
        "seconds": 1e-6,
        "every_attempt": every_attempt,
    }


@dataclass(frozen=True)
class Row:
    """One kind of fault.

    Attributes:
        faults: those of a run at a step, or
        strike: what is done from here when a run has come so far.
        apart: each trial has a run of its own, because the run does not wait for what was killed.
        most: seconds that are promised from the kill to the next step, if any are.
    """

    title: str
    workers: int
    faults: Callable[[int], Sequence[Document]] = lambda step: ()
    strike: Callable[[Lab], object] | None = None
    apart: bool = False
    most: float | None = None


def strike_service(lab: Lab) -> None:
    lab.kill_service()
    lab.start()


ROWS = (
    Row(
        "worker, another alive",
        2,
        lambda step: (kill("worker-0", step, "answer"), noted(step)),
        apart=True,
        most=1.0,
    ),
    Row(
        "the only worker", 1, lambda step: (kill("worker-0", step, "answer"), noted(step)), most=8.0
    ),
    Row("parameter server", 2, lambda step: (kill("server", step, "gathered"),), most=15.0),
    Row(
        "parameter server and a worker",
        2,
        lambda step: (kill("worker-0", step, "answer"), kill("server", step, "gathered")),
        most=15.0,
    ),
    Row("runner", 2, strike=lambda lab: lab.kill(RUNNER)),
    Row("Ray's head", 2, strike=lambda lab: lab.kill(HEAD)),
    Row("service, started again", 2, strike=strike_service),
)


@dataclass(frozen=True)
class Recovery:
    """What became of the faults of one kind.

    Attributes:
        seconds: from each kill to the next applied step.
        steps_again: that were done before each kill and had to be done again; nothing where nobody
            can say how far the server was.
    """

    seconds: list[float]
    steps_again: list[int]


def recover(lab: Lab, row: Row, trials: int, digest: str) -> Recovery:
    """One run, with the fault of a row again and again."""
    steps = [STEP * (i + 1) for i in range(trials)]
    faults = [fault for step in steps for fault in row.faults(step)]
    struck: list[float] = []

    def happening(event: run_pb2.Event) -> None:
        if row.strike and len(struck) < trials and event.progress.step >= steps[len(struck)]:
            struck.append(time.time())
            row.strike(lab)

    course = train(lab, specification(length(trials), row.workers, *faults), happening)
    require_digest(course, digest, row.title)
    kills = [line for line in course.journal if line["action"] == "kill"]
    applied = [line["time"] for line in course.journal if line["point"] == "applied"]
    seconds = waits([*struck, *(line["time"] for line in kills)], applied)
    if len(seconds) != trials:
        raise SystemExit(f"{row.title}: {trials} faults, but {len(seconds)} recoveries were seen")
    resumed = [event.resumed.step for event in course.events if event.HasField("resumed")]
    dead = [line["step"] for line in kills if line["target"] == "server"]
    if dead:
        return Recovery(seconds, [a - 1 - b for a, b in zip(dead, resumed, strict=True)])
    return Recovery(seconds, [] if row.strike else [0] * trials)


def length(trials: int) -> int:
    """Steps of the runs with so many faults."""
    return STEP * (trials + 2)


def waits(kills: Sequence[float], applied: Sequence[float]) -> list[float]:
    """From each kill to the next applied step; of kills without a step between, from the last."""
    found, last = [], None
    for moment, is_kill in sorted([(t, True) for t in kills] + [(t, False) for t in applied]):
        if is_kill:
            last = moment
        elif last is not None:
            found.append(moment - last)
            last = None
    return found


def require_digest(course: Course, digest: str, title: str) -> None:
    if course.run.result.weights_digest != digest:
        raise SystemExit(f"{title}: the weights are not those of the undisturbed run")


def recoveries(lab: Lab, trials: int) -> dict[str, Recovery]:
    digests = {
        count: train(lab, specification(length(count), 1)).run.result.weights_digest
        for count in {1, trials}
    }
    found = {}
    for row in ROWS:
        count = 1 if row.apart else trials
        parts = [recover(lab, row, count, digests[count]) for _ in range(trials // count)]
        found[row.title] = Recovery(
            [seconds for part in parts for seconds in part.seconds],
            [steps for part in parts for steps in part.steps_again],
        )
        note(f"{row.title}: {found[row.title]}")
    return found


@dataclass(frozen=True)
class Endurance:
    """A run whose workers are killed again and again.

    Attributes:
        undisturbed: seconds of the same run without kills, before and after.
    """

    steps: int
    kills: int
    seconds: float
    undisturbed: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Throughput over that of the undisturbed runs."""
        return sum(self.undisturbed) / len(self.undisturbed) / self.seconds


def endure(lab: Lab, seconds: float) -> Endurance:
    """Kill a worker every KILL_SECONDS in a run that takes at least this long."""
    short = train(lab, specification(CALIBRATION_STEPS, 2))
    steps = round(CALIBRATION_STEPS / short.seconds * seconds * MARGIN)
    document = specification(steps, 2)
    before = train(lab, document)
    over, kills = threading.Event(), 0

    def kill_workers() -> None:
        nonlocal kills
        while not over.wait(KILL_SECONDS):
            kills += lab.kill(WORKER)

    killer = threading.Thread(target=kill_workers)

    def happening(event: run_pb2.Event) -> None:
        if event.HasField("progress") and killer.ident is None:
            killer.start()

    try:
        disturbed = train(lab, document, happening)
    finally:
        over.set()
        killer.join()
    require_digest(disturbed, before.run.result.weights_digest, "a worker killed every 10 s")
    after = train(lab, document)
    return Endurance(steps, kills, disturbed.seconds, (before.seconds, after.seconds))


@dataclass(frozen=True)
class Snapshots:
    """Seconds of training with and without snapshots, one figure a repetition."""

    taken: list[int]
    with_them: list[float]
    without: list[float]

    @property
    def seconds_each(self) -> list[float]:
        """What one takes from training, one figure a repetition; noise may make it negative."""
        pairs = zip(self.with_them, self.without, self.taken, strict=True)
        return [(one - other) / taken for one, other, taken in pairs]


def snapshots(lab: Lab, mnist: Path | None, repetitions: int) -> Snapshots:
    found = Snapshots([], [], [])
    data = MNIST_NOISE if mnist is None else {"type": "idx", "path": str(mnist.resolve())}
    document = read_spec(MNIST_MLP, settings=("train.epochs=2",))
    document |= {"data": data, "faults": [noted(1)]}
    for repetition in range(repetitions):
        plain = train(lab, document)
        often = train(lab, document | {"snapshots": {"every_steps": OFTEN_STEPS}})
        require_digest(often, plain.run.result.weights_digest, "snapshots")
        found.without.append(plain.seconds)
        found.with_them.append(often.seconds)
        found.taken.append(sum(event.HasField("snapshot_taken") for event in often.events))
        note(f"repetition {repetition + 1}/{repetitions}: {plain.seconds:.2f}, {often.seconds:.2f}")
    return found


def broken_recoveries(found: dict[str, Recovery]) -> list[str]:
    """A sentence for each kind of fault whose bound does not hold."""
    promised = {row.title: row.most for row in ROWS if row.most is not None}
    return [
        f"{title}: the longest recovery took {max(found[title].seconds):.2f} s, and at most "
        f"{most:g} s are promised"
        for title, most in promised.items()
        if max(found[title].seconds) > most
    ]


def broken_endurance(found: Endurance, seconds: float) -> list[str]:
    """A sentence for each bound that does not hold in a run that was to last so many seconds."""
    broken = []
    if found.ratio < LEAST_RATIO:
        broken.append(
            f"a worker killed every {KILL_SECONDS:.0f} s: {100 * found.ratio:.1f} % of the "
            f"throughput, and {100 * LEAST_RATIO:.0f} % are promised"
        )
    if found.seconds < seconds:
        broken.append(
            f"the run with kills lasted {found.seconds:.0f} s of {seconds:.0f}: run it again"
        )
    # The first kill is KILL_SECONDS after the first report, and one may find nobody.
    if found.kills < (expected := max(1, int(found.seconds / KILL_SECONDS) - 2)):
        broken.append(f"only {found.kills} workers were killed, and not {expected} or more")
    return broken


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def recovery_table(found: dict[str, Recovery]) -> str:
    lines = [
        "| killed | median | longest | steps done again, at most | trials |",
        "|---|---|---|---|---|",
    ]
    for title, recovery in found.items():
        seconds, again = recovery.seconds, max(recovery.steps_again, default="–")
        cells = [title, f"{median(seconds):.2f} s", f"{max(seconds):.2f} s", again, len(seconds)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the run with kills")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--mnist", type=Path, help="the folder of its IDX files; else noise")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    environment.remove_overrides()
    content: dict[str, object] = {}
    with lab() as service:
        found = recoveries(service, options.trials)
        content["recovery"] = {title: asdict(one) for title, one in found.items()}
        broken = broken_recoveries(found)
        print(f"Seconds from a kill to the next applied step.\n\n{recovery_table(found)}\n")
        endurance = endure(service, options.seconds)
        content["endurance"] = asdict(endurance)
        broken += broken_endurance(endurance, options.seconds)
        print(
            f"{endurance.kills} workers killed, one every {KILL_SECONDS:.0f} s: "
            f"{100 * endurance.ratio:.0f} % of the throughput without, over {endurance.steps:,} "
            f"steps in {endurance.seconds:.0f} s, and the same digest.\n"
        )
        taken = snapshots(service, options.mnist, options.trials)
        content["snapshots"] = asdict(taken)
        each = taken.seconds_each
        print(
            f"A snapshot takes {1000 * median(each):.1f} ms from the training of MNIST, at most "
            f"{1000 * max(each):.1f} ms: {100 * max(each) / 60:.3f} % at one a minute."
        )
    if options.json is not None:
        options.json.write_text(json.dumps(content | {"broken": broken}, indent=2) + "\n")
    for sentence in broken:
        print(f"BROKEN: {sentence}.")
    sys.exit(bool(broken))
