"""`ossconnector ls` without a bucket: the buckets of the account, of however many pages."""

from __future__ import annotations

import pytest

from command_process import Shell
from osstorchconnector.emulator import Emulator

# A page has 1000 at most.
NAMES = sorted(f"bucket-{number:04}" for number in range(1003))


@pytest.fixture(scope="module")
def many():
    with Emulator(buckets=NAMES) as oss:
        yield oss


@pytest.fixture
def shell(site, tmp_path, many):
    shell = Shell(site, tmp_path)
    shell.oss = many
    shell.variables |= many.environ()
    return shell


@pytest.mark.parametrize("place", [(), ("oss://",)])
def test_without_a_bucket_the_buckets_are_listed_page_by_page(shell, place):
    before = len(shell.oss.requests("ListBuckets"))
    assert shell.printed("ls", *place).split() == [f"oss://{name}/" for name in NAMES]
    assert len(shell.oss.requests("ListBuckets")) == before + 2


def test_regions_and_classes_are_told_too(shell):
    first = shell.printed("ls", "-l").splitlines()[0].split()
    assert (first[0][-1], *first[1:]) == ("Z", shell.oss.region, "Standard", f"oss://{NAMES[0]}/")
    first, *_ = shell.document("ls")
    host = first["extranet_endpoint"]
    assert first == {
        "uri": f"oss://{NAMES[0]}/",
        "name": NAMES[0],
        "region": shell.oss.region,
        "created": first["created"],
        "storage_class": "Standard",
        "extranet_endpoint": host,
        "intranet_endpoint": host,
    }


def test_all_keys_of_all_buckets_are_not_listed_by_mistake(shell):
    assert "-r lists one bucket" in shell.refused("ls", "-r", status=2)


def test_a_missing_right_is_one_line(shell):
    shell.oss.rules(
        [{"match": {"op": "ListBuckets"}, "action": {"status": 403, "code": "AccessDenied"}, "times": 1}]
    )
    said = shell.refused("ls")
    assert said.startswith("ossconnector: ListBuckets")
    assert "AccessDenied" in said


def test_pages_that_lead_nowhere_are_an_error(shell):
    page = (
        '<?xml version="1.0"?><ListAllMyBucketsResult><IsTruncated>true</IsTruncated><NextMarker></NextMarker>'
        "<Owner><ID>1</ID><DisplayName>1</DisplayName></Owner><Buckets></Buckets></ListAllMyBucketsResult>"
    )
    shell.oss.rules([{"match": {"op": "ListBuckets"}, "action": {"status": 200, "body": page}}])
    said = shell.refused("ls")
    shell.oss.rules([])
    assert "says that there is more, but not where" in said


def test_the_domain_of_one_bucket_lists_no_others(shell, site):
    config_path = site.configured(network={"addressing": "cname"})["config_path"]
    assert "domain of one bucket" in shell.refused("ls", "--config-path", config_path)
