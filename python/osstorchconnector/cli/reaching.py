"""The options with which every command reaches OSS: as everywhere, the environment is asked where none is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector.client import OssClient

if TYPE_CHECKING:
    import argparse


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add endpoint, region, credentials and config file."""
    group = parser.add_argument_group("reaching OSS", "what is left out comes from the environment")
    group.add_argument("--endpoint", metavar="URL", help="http[s]://host[:port]")
    group.add_argument("--region", default="", help="signing region; inferred from the endpoint")
    group.add_argument("--cred-path", default="", metavar="FILE", help="JSON credentials file")
    group.add_argument("--config-path", default="", metavar="FILE", help="JSON config file")


def client(options: argparse.Namespace) -> OssClient:
    """Make a client of what was given."""
    return OssClient(options.endpoint, options.cred_path, options.config_path, region=options.region)
