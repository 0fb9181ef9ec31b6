"""Train a sharded model (FSDP2) that survives being killed: it goes on from the newest checkpoint that loads.

    export OSS_ENDPOINT=... OSS_REGION=... OSS_ACCESS_KEY_ID=... OSS_ACCESS_KEY_SECRET=...
    torchrun --nproc-per-node 2 examples/fsdp2/train.py oss://bucket/run --kill-at-step 8
    torchrun --nproc-per-node 2 examples/fsdp2/train.py oss://bucket/run

The first one is killed by its option, the second one goes on. The losses of the steps that are done twice are the same
to the last digit. `--nproc-per-node` may change in between; the losses then differ, because the batches do.
"""

from __future__ import annotations

import argparse
import os
import signal
import warnings
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy

from osstorchconnector import OssDCPFileSystem

if TYPE_CHECKING:
    from concurrent.futures import Future

FEATURES, CLASSES, BATCH = 32, 10, 16


def main() -> None:
    """Train, on a GPU for each rank where there are GPUs."""
    options = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    train(Job(device, options.width), OssDCPFileSystem(endpoint=None), options)
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", help="prefix of the checkpoints, oss://bucket/run")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--save-every", type=int, default=3)
    parser.add_argument("--keep", type=int, default=2, help="checkpoints that are kept")
    parser.add_argument("--width", type=int, default=256, help="of the hidden layers")
    parser.add_argument(
        "--kill-at-step", type=int, default=0, help="kill the last rank here, in its first life"
    )
    return parser.parse_args()


class Job:
    """The sharded model, its optimizer, and the step that it has come to."""

    def __init__(self, device: str, width: int) -> None:
        torch.manual_seed(0)
        layers = [
            torch.nn.Linear(FEATURES, width),
            torch.nn.Linear(width, width),
            torch.nn.Linear(width, CLASSES),
        ]
        self.model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
        self.model.to(device)
        mesh = init_device_mesh(device, (dist.get_world_size(),))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.device = device
        self.step = 0

    def learn(self) -> float:
        """Do one step; return the loss, averaged over the ranks."""
        self.step += 1
        # A function of step and rank alone: a step that is done again sees what it saw before.
        draw = torch.Generator().manual_seed(self.step * dist.get_world_size() + dist.get_rank())
        batch = torch.randn(BATCH, FEATURES, generator=draw).to(self.device)
        labels = (batch[:, :CLASSES]).argmax(dim=1)
        loss = cross_entropy(self.model(batch), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        mean = loss.detach()
        dist.all_reduce(mean)
        return mean.item() / dist.get_world_size()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds; every rank holds its shards alone."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "step": self.step}

    def resume(self, fs: OssDCPFileSystem, uri: str) -> None:
        """Go on from a checkpoint, of this or of another number of ranks."""
        state = self.state()
        dcp.load(state, storage_reader=fs.reader(uri, weights_only=True))
        set_state_dict(
            self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        self.step = state["step"]


def train(job: Job, fs: OssDCPFileSystem, options: argparse.Namespace) -> None:
    """Train to the last step, from wherever the newest checkpoint is."""
    newest = newest_of_all(fs, options.checkpoints)
    if newest is not None:
        job.resume(fs, newest)
        say(f"resumed from {newest} at step {job.step}")
    # Ranks talk about a save in the background while they train: on a group of its own, or the two would mix.
    saving_group = dist.new_group(backend="gloo")
    saving: Future[Any] | None = None
    while job.step < options.steps:
        loss = job.learn()
        say(f"step {job.step} loss {loss!r}")
        if job.step % options.save_every == 0:
            if saving is not None:
                saving.result()
            writer = fs.writer(f"{options.checkpoints}/step-{job.step:06d}", keep_last=options.keep)
            saving = dcp.async_save(job.state(), storage_writer=writer, process_group=saving_group)
        if job.step == options.kill_at_step and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
    if saving is not None:
        saving.result()
    say(f"done at step {job.step}")


def newest_of_all(fs: OssDCPFileSystem, prefix: str) -> str | None:
    """Let one rank choose, so that all load the same checkpoint."""
    chosen = [fs.latest(prefix) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(chosen)
    return chosen[0]


def say(text: str) -> None:
    """Print on one rank."""
    if dist.get_rank() == 0:
        print(text, flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()
