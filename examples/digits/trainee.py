"""The child of act 4: one shuffled epoch, with a checkpoint of weights and place now and then.

Arguments: endpoint, region, credentials file, config file, URI of the checkpoint, number of DataLoader workers, pictures
in a batch, batches from one checkpoint to the next. If the checkpoint is there, training goes on from it. After each
batch a line of JSON says which pictures it had; the next batch begins when a line is answered.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch.utils.data import DataLoader

from digits.bucket import NAME
from digits.model import Training, decode, weights_hash
from osstorchconnector import OssCheckpoint, OssIterableDataset, imagenet_manifest_parser
from osstorchconnector.errors import NotFoundError

SEED = 5


def decode_named(sample: Any) -> tuple[torch.Tensor, int, str]:
    """Turn one object into (pixels, label, key)."""
    return (*decode(sample), sample.key)


def main(
    endpoint: str,
    region: str,
    cred_path: str,
    config_path: str,
    uri: str,
    workers: str,
    batch_size: str,
    save_every: str,
) -> None:
    """Train one epoch, from its beginning or from where the checkpoint says."""
    batch = int(batch_size)
    access: dict[str, Any] = {"endpoint": endpoint, "region": region, "cred_path": cred_path}
    dataset = OssIterableDataset.from_manifest_file(
        f"oss://{NAME}/manifests/train.tsv",
        imagenet_manifest_parser,
        f"oss://{NAME}/",
        transform=decode_named,
        config_path=config_path,
        shard="rank",
        shuffle=True,
        seed=SEED,
        batch_size=batch,
        **access,
    )
    checkpoints = OssCheckpoint(**access)
    training = Training()
    used = _go_on(checkpoints, uri, training, dataset)
    for pixels, labels, keys in DataLoader(dataset, batch_size=batch, num_workers=int(workers)):
        training.learn(pixels, labels)
        used += len(keys)
        if used % (int(save_every) * batch) == 0:
            with checkpoints.writer(uri) as writer:
                torch.save({"training": training.state(), "place": dataset.state_at(used)}, writer)
        print(json.dumps({"used": used, "keys": keys}), flush=True)
        sys.stdin.readline()
    print(json.dumps({"used": used, "weights": weights_hash(training.state())}), flush=True)


def _go_on(checkpoints: OssCheckpoint, uri: str, training: Training, dataset: Any) -> int:
    """Load the checkpoint, if there is one; return how many samples of the epoch were used."""
    try:
        with checkpoints.reader(uri) as reader:
            saved = torch.load(reader, weights_only=True)
    except NotFoundError:
        return 0
    training.load(saved["training"])
    dataset.load_state_dict(saved["place"])
    return int(saved["place"]["position"])


if __name__ == "__main__":
    main(*sys.argv[1:])
