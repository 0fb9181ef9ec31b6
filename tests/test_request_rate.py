"""Requests a second: the user's bound, and what the service admits."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.utils.data import DataLoader

import osstorchconnector
from osstorchconnector import OssClient, OssIterableDataset
from osstorchconnector.connection import Connection
from osstorchconnector.credentials import AnonymousCredentials
from osstorchconnector.errors import PermissionDeniedError


def sent_at(site, operation="GetObject"):
    """Return the moments, in seconds, at which the emulator was asked for objects."""
    entries = [entry for entry in site.oss.journal() if entry.get("operation") == operation]
    return sorted(entry["started_ms"] / 1000 for entry in entries)


def busiest_second(moments):
    """Return the most requests within any one second."""
    return max(
        sum(1 for later in moments[first:] if later < moments[first] + 1) for first in range(len(moments))
    )


def test_the_users_bound_holds_from_the_first_request(site):
    site.fill({f"k/{number:03}": b"x" for number in range(120)})
    arguments = site.configured(network={"maxRequestsPerSecond": 60})
    assert len(list(OssIterableDataset.from_prefix("oss://bucket/k/", **arguments))) == 120
    moments = sent_at(site)
    assert len(moments) == 120
    # A hundredth of a second may be made good after a pause, and a busy machine sends some of them late.
    assert busiest_second(moments) <= 75
    assert moments[-1] - moments[0] >= 1.9


def test_the_objects_of_one_process_share_the_bound(site):
    site.fill({"k": b"x"})
    before = osstorchconnector.stats().get("requests_per_second_limit", 0)
    arguments = site.configured(network={"maxRequestsPerSecond": 40})
    clients = [OssClient(**arguments) for _ in range(3)]

    def ask(client):
        for _ in range(12):
            client.head_object("bucket", "k")

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(ask, clients))
    moments = sent_at(site, "HeadObject")
    # 36 at 40 a second; if each had a pace of its own, 12 would take a third of that.
    assert len(moments) == 36
    assert moments[-1] - moments[0] >= 0.8
    assert {client.stats()["requests_per_second_limit"] for client in clients} == {40}
    assert osstorchconnector.stats()["requests_per_second_limit"] - before == 40


def test_f28_a_refusal_of_one_object_holds_back_all_of_its_account_and_no_other(site):
    site.fill({"k": b"x"})
    train, _, _, stranger = clients = (
        OssClient(**site.arguments),
        OssClient(**site.arguments),
        OssClient(**{**site.arguments, "endpoint": site.oss.endpoint.replace("127.0.0.1", "localhost")}),
        OssClient(site.oss.endpoint, region="cn-local", cred_provider=AnonymousCredentials()),
    )

    def limits():
        return [client.stats()["requests_per_second_limit"] for client in clients]

    for client in clients[:3]:
        client.head_object("bucket", "k")
    with pytest.raises(PermissionDeniedError):
        stranger.head_object("bucket", "k")
    assert limits() == [0, 0, 0, 0]
    before = osstorchconnector.stats()["requests_per_second_limit"]
    refusal = {"status": 503, "code": "TotalQpsLimitExceeded"}
    site.oss.rules([{"match": {"op": "HeadObject"}, "action": refusal, "times": 1}])
    train.head_object("bucket", "k")
    assert [limit > 0 for limit in limits()] == [True, True, False, False]
    late = OssClient(**site.arguments)
    late.head_object("bucket", "k")
    assert late.stats()["requests_per_second_limit"] > 0
    told = osstorchconnector.stats()["requests_per_second_limit"] - before
    assert told <= 1.5 * train.stats()["requests_per_second_limit"], "a pace that several share counts once"


def test_the_bound_is_told_by_the_stats(site):
    site.fill({"k/a": b"x"})
    dataset = OssIterableDataset.from_prefix(
        "oss://bucket/k/", **site.configured(network={"maxRequestsPerSecond": 60})
    )
    list(dataset)
    assert dataset.stats()["requests_per_second_limit"] == 60


@pytest.mark.parametrize("delay", [{}, {"qos_delay_ms": 20}])
def test_f29_what_the_service_admits_is_found_and_kept(site, delay, caplog):
    site.fill({f"k/{number:04}": b"x" for number in range(900)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.of_own_account())
    dataset.prepare()
    site.oss.shape(admit_rps={"rps": 400, "burst": 40, **delay})
    limits = []
    with caplog.at_level(logging.INFO, "osstorchconnector"):
        # Where the machine stood still for a second, no more was admitted in it, and the next epoch finds the limit.
        while len(limits) < 3 and not any(200 <= limit <= 800 for limit in limits):
            assert len(list(dataset)) == 900
            limits.append(dataset.stats()["requests_per_second_limit"])
    # Without a pace, windows of requests would be refused again and again.
    assert 0 < dataset.stats()["throttled"] <= 0.15 * 900 * len(limits)
    assert "a second go from now on" in caplog.text
    assert 200 <= limits[-1] <= 800, limits


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("told", ["environment", "argument", "scheduler", "pickle"])
def test_the_bound_is_divided_over_ranks_and_workers(told, workers, site, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    arguments = site.configured(network={"maxRequestsPerSecond": 2000})
    connection = Connection(**{"region": "", "cred_provider": None, **arguments})
    if told == "argument":
        connection.world_size = 8
    elif told == "scheduler":
        monkeypatch.setenv("SLURM_PROCID", "3")
        monkeypatch.setenv("SLURM_NTASKS", "8")
    else:
        monkeypatch.setenv("WORLD_SIZE", "8")
    if told == "pickle":
        data = pickle.dumps(connection)
        monkeypatch.delenv("WORLD_SIZE")
        connection = pickle.loads(data)
    site.fill({"k": b"x"})
    store = connection.store(workers)
    store.head("/bucket/k")
    assert store.stats()["requests_per_second_limit"] == 2000 / 8 / workers


@pytest.mark.parametrize("source", ["prefix", "function"])
def test_the_bound_is_divided_over_workers_whatever_their_parent_did(source, site):
    uris = site.fill({f"k/{number}": b"x" for number in range(8)})
    arguments = site.configured(network={"maxRequestsPerSecond": 2000})
    dataset = (
        OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
        if source == "prefix"
        else OssIterableDataset(get_dataset_objects=Named(uris), **arguments)
    )
    if source == "prefix":
        dataset.prepare()
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    assert len(list(loader)) == 8
    limits = {
        number: stats["requests_per_second_limit"] for number, stats in dataset.stats_by_worker().items()
    }
    assert limits == {0: 1000, 1: 1000}


class Named:
    """Names objects by asking a client, as a function of the user's does."""

    def __init__(self, uris):
        self.uris = uris

    def __call__(self, client):
        return [client.head_object(*uri.removeprefix("oss://").split("/", 1)) for uri in self.uris]
