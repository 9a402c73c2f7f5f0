"""PyTorch on one workload.

`python -m benchmarks.compare.pytorch --workload NAME --mode MODE --data FILE`

Mode `single` is one process with two threads; mode `ddp` is two processes of one thread each,
under DistributedDataParallel over gloo. Prints one JSON line, timed as rank 0 sees it.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.compare.workloads import IMAGE_SHAPE, WORKLOADS, Conv, Dense, MaxPool, Workload

RANKS = 2
HOST = "127.0.0.1"
RENDEZVOUS_TIMEOUT = timedelta(seconds=60)

Result = dict[str, float]


def load(workload: Workload, data: Path) -> tuple[Tensor, Tensor]:
    """Return x_train as float32 in [0, 1], shaped for the first layer, and y_train."""
    with np.load(data, allow_pickle=False) as arrays:
        x, y = torch.from_numpy(arrays["x_train"]), torch.from_numpy(arrays["y_train"])
    x = x.permute(0, 3, 1, 2).float().div_(255)
    return x.flatten(1) if isinstance(workload.layers[0], Dense) else x, y


def network(workload: Workload) -> nn.Sequential:
    """Build the network; where the first layer is dense it takes rows that are already flat."""
    modules: list[nn.Module] = []
    size, _, channels = IMAGE_SHAPE
    for layer in workload.layers:
        match layer:
            case Conv(out, kernel):
                modules += [nn.Conv2d(channels, out, kernel, padding=kernel // 2), nn.ReLU()]
                channels = out
            case MaxPool(block):
                modules.append(nn.MaxPool2d(block))
                size //= block
            case Dense(units):
                if modules and size > 1:
                    modules.append(nn.Flatten())
                modules += [nn.Linear(channels * size * size, units), nn.ReLU()]
                channels, size = units, 1
    return nn.Sequential(*modules[:-1])


def batches(rows: int, batch: int, rank: int, ranks: int) -> Iterator[Tensor]:
    """Yield this rank's row indices of each batch for ever, in a fresh permutation each epoch."""
    generator = torch.Generator().manual_seed(0)
    used = rows // batch * batch
    while True:
        order = torch.randperm(rows, generator=generator)[:used]
        yield from order.view(-1, ranks, batch // ranks)[:, rank]


def train(workload: Workload, data: Path, rank: int = 0, ranks: int = 1) -> Result:
    """Train for warmup + steps batches; return the figures of the timed ones, over all ranks."""
    torch.manual_seed(0)
    x, y = load(workload, data)
    # Measured: channels_last saves 7 to 12 % on LeNet in either mode. Dense layers ignore it.
    model: nn.Module = network(workload).to(memory_format=torch.channels_last)
    if ranks > 1:
        # Measured: the view is within noise of the default, at best 2 % faster (wide network).
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=workload.learning_rate, momentum=workload.momentum
    )
    loss_of = nn.CrossEntropyLoss()

    def step(index: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        # Measured: index_select beats x[index] on the dense rows of the table, and ties on LeNet.
        loss: Tensor = loss_of(model(x.index_select(0, index)), y.index_select(0, index))
        loss.backward()
        optimizer.step()
        return loss.detach()

    indices = batches(len(x), workload.batch, rank, ranks)
    for index in islice(indices, workload.warmup):
        step(index)
    clock = [perf_counter()]
    for index in islice(indices, workload.steps):
        loss = step(index)
        clock.append(perf_counter())
    if ranks > 1:
        dist.all_reduce(loss)
    return {
        "samples_per_second": workload.steps * workload.batch / (clock[-1] - clock[0]),
        "step_seconds_median": median(end - start for start, end in pairwise(clock)),
        "steps": workload.steps,
        "final_loss": loss.item() / ranks,
    }


def run_single(workload: Workload, data: Path) -> Result:
    """Train in this process with two threads."""
    torch.set_num_threads(2)
    return train(workload, data)


def run_ddp(workload: Workload, data: Path) -> Result:
    """Train in two processes of one thread each, which end before this returns or raises."""
    os.environ.update(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_rank, args=(rank, store.port, workload, data, sender))
        for rank in range(RANKS)
    ]
    try:
        for process in processes:
            process.start()
        sender.close()  # so that recv ends when the ranks do
        result: Result = receiver.recv()
        for process in processes:
            process.join()
    except EOFError:
        raise SystemExit("a DDP process failed; its traceback is above") from None
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    return result


def _rank(rank: int, port: int, workload: Workload, data: Path, results: Connection) -> None:
    """Be one DDP process; rank 0 sends the result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent acts
    torch.set_num_threads(1)
    store = dist.TCPStore(HOST, port, timeout=RENDEZVOUS_TIMEOUT)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=RANKS, timeout=RENDEZVOUS_TIMEOUT
    )
    result = train(workload, data, rank, RANKS)
    if rank == 0:
        results.send(result)
    # gloo's threads may still hold tensors while Python shuts down, and abort the process
    # (pytorch/pytorch#179291), so there is no shutdown.
    os._exit(0)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare.pytorch", description=__doc__
    )
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--mode", choices=("ddp", "single"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="written by write_dataset")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = run_ddp if options.mode == "ddp" else run_single
    print(json.dumps(run(WORKLOADS[options.workload], options.data)))


if __name__ == "__main__":
    main()
