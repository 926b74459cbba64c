"""The work of each of two processes, in its own module so that another process can import it."""

from __future__ import annotations

import copy
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn
from torch.multiprocessing.spawn import start_processes
from transformers import PreTrainedModel
from transformers.trainer_utils import SaveStrategy

from forked import SECONDS
from sparsead.adapters.adapted import AdaptedModel
from sparsead.assembly.phases import share_masks
from sparsead.pruning.prune import prune
from sparsead.training.processes import broadcast_value
from training.test_trainer import trainer_of

OF_TOKENS = ("task=demo_xsum", "backbone=tiny-bart", "backbone.dropout=0")
"""The words of a run whose loss is a mean over tokens, of which texts have different numbers."""


def in_two_processes(work: Callable[[int, int, str], None], folder: Path) -> None:
    """Call `work` in one process per rank, with the rank, a free port and the folder.

    Raises:
        TimeoutError: a process took longer than `SECONDS`; both are then killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = start_processes(  # forked from a process that `forked` lets import torch
        _work_and_leave, (work, port, str(folder)), nprocs=2, join=False, start_method="forkserver"
    )
    assert context is not None
    ends = time.monotonic() + SECONDS
    while not context.join(timeout=max(0.0, ends - time.monotonic())):
        if time.monotonic() >= ends:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"took longer than {SECONDS} s")


def _work_and_leave(
    rank: int, work: Callable[[int, int, str], None], port: int, folder: str
) -> None:
    """Call `work`, and end the process without destroying anything.

    In torch 2.13 the destructor of a process group of gloo can wait forever: it keeps Python's lock
    while it waits for a thread that needs that lock to free the last collective operation.
    """
    work(rank, port, folder)
    os._exit(0)


def worker(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    shared = torch.Generator().manual_seed(1)
    batch = torch.randn(32, 8, generator=shared), torch.randint(0, 4, (32,), generator=shared)
    masks = prune(
        model,
        tensors=["0.weight", "2.weight"],
        sparsity=0.5,
        batches=[batch],
        loss=lambda model, pair: nn.functional.cross_entropy(model(pair[0]), pair[1]),
    )
    model = copy.deepcopy(model)
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(parallel.parameters(), lr=1e-2, weight_decay=0.1),
        torch.optim.Muon([model.get_parameter(name) for name in masks], lr=1e-2),
    ]
    own = torch.Generator().manual_seed(10 + rank)
    for step in range(6):
        optimizer = optimizers[step % 2]
        optimizer.zero_grad()
        inputs = torch.randn(16, 8, generator=own)
        classes = torch.randint(0, 4, (16,), generator=own)
        nn.functional.cross_entropy(parallel(inputs), classes).backward()
        optimizer.step()
    torch.save({"state": model.state_dict(), "masks": dict(masks)}, f"{folder}/{rank}.pt")


def _join(rank: int, port: int) -> None:
    """Do what torchrun and accelerate do in a process before a run begins."""
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in here.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    PartialState(cpu=True)


def agreeing_worker(rank: int, port: int, folder: str) -> None:
    _join(rank, port)
    Path(folder, str(rank)).write_text(broadcast_value(f"found by {rank}"), "utf-8")


def training_worker(rank: int, port: int, folder: str) -> None:
    _join(rank, port)
    train_undisturbed(Path(folder), f"{rank}.pt")


def text_training_worker(rank: int, port: int, folder: str) -> None:
    _join(rank, port)
    train_undisturbed(Path(folder), f"{rank}.pt", *OF_TOKENS)


def train_undisturbed(folder: Path, name: str, *words: str) -> None:
    """Train two steps without dropout, and save the weights, and the loss of training and dev."""
    trainer = trainer_of(folder, "protocol.epochs=1", "protocol.batch_size=16", *words)
    model = cast(nn.Module, trainer.model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train()
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    logged = {key: value for each in trainer.state.log_history for key, value in each.items()}
    losses = {key: logged[key] for key in ("loss", "grad_norm", "eval_loss")}
    torch.save({"weights": weights, "losses": losses}, folder / name)


def masking_worker(rank: int, port: int, folder: str) -> None:
    """Draw other masks in each process, share them, and save the masks and the weights."""
    _join(rank, port)
    torch.manual_seed(0)
    model = nn.Linear(8, 16)
    own = prune(model, tensors=["weight"], sparsity=0.5, pruner="random", seed=rank)
    adapted = AdaptedModel(cast(PreTrainedModel, model), ("weight",), (), ("weight",))
    shared = share_masks(own, adapted)["weight"]
    weight = nn.parallel.DistributedDataParallel(model).module.weight.detach()
    kept = {"own": own["weight"], "shared": shared, "weight": weight}
    torch.save(kept, f"{folder}/{rank}.pt")
