"""The options with which every command reaches OSS: as everywhere, the environment is asked where none is given."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from osstorchconnector.client import OssClient
    from osstorchconnector.connection import Connection, OssStore


@dataclass(frozen=True)
class Reaching:
    """What was given of endpoint, region, credentials and config file."""

    endpoint: str | None
    region: str
    cred_path: str
    config_path: str

    def client(self) -> OssClient:
        """Make a client."""
        from osstorchconnector.client import OssClient

        return OssClient(**asdict(self))

    def given(self) -> Connection:
        """Take it as it was given.

        Raises:
            ConfigError: the config file is wrong.
        """
        from osstorchconnector.connection import Connection

        return Connection(self.endpoint, self.cred_path, self.config_path, None, self.region)

    def store(self) -> OssStore:
        """Return where the objects are.

        Raises:
            ConfigError: the config file is wrong, or the endpoint is "", a local directory.
        """
        return self.given().refuse_local("this command").oss_store()


def options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options; it takes them as one argument, `reaching`."""

    @functools.wraps(command)
    def taking(*, endpoint: str | None, region: str, cred_path: str, config_path: str, **rest: Any) -> int:
        return command(reaching=Reaching(endpoint, region, cred_path, config_path), **rest)

    for add in (
        click.option("--config-path", default="", metavar="FILE", help="JSON config file."),
        click.option("--cred-path", default="", metavar="FILE", help="JSON credentials file."),
        click.option("--region", default="", help="Signing region; inferred from the endpoint."),
        click.option("--endpoint", metavar="URL", help="http[s]://host[:port]; else the environment's."),
    ):
        taking = add(taking)
    return taking
