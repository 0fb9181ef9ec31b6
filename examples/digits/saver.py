"""The child of act 3: save one checkpoint, as any training script would.

Arguments: endpoint, region, credentials file, URI of the checkpoint, local file with the state to save.
"""

from __future__ import annotations

import sys

import torch

from osstorchconnector import OssCheckpoint


def main(endpoint: str, region: str, cred_path: str, uri: str, state_file: str) -> None:
    """Load the state from the local file and save it to the bucket."""
    state = torch.load(state_file, weights_only=True)
    with OssCheckpoint(endpoint, cred_path, region=region).writer(uri) as writer:
        torch.save(state, writer)


if __name__ == "__main__":
    main(*sys.argv[1:])
