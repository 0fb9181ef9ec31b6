"""The JSON config file: the original's names, our rules for values."""

from __future__ import annotations

import json
import logging
import pickle
import re

import pytest

from osstorchconnector import OssCheckpoint, config
from osstorchconnector.errors import ConfigError

PUBLISHED_SAMPLE = {
    "logLevel": 1,
    "logPath": "/var/log/oss-connector/connector.log",
    "auditPath": "/var/log/oss-connector/audit.log",
    "datasetConfig": {"prefetchConcurrency": 24, "prefetchWorker": 2},
    "checkpointConfig": {"prefetchConcurrency": 24, "prefetchWorker": 4, "uploadConcurrency": 64},
}


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch):
    monkeypatch.setattr(config, "_said", set())


def parsed(**document):
    return config.parse(json.dumps(document), "/c.json")


def test_the_published_sample_chooses_nothing():
    read = config.parse(json.dumps(PUBLISHED_SAMPLE), "/c.json")
    assert read.options == {}
    assert read.log_level == logging.INFO
    assert read.log_path == "/var/log/oss-connector/connector.log"
    assert read.audit_path == "/var/log/oss-connector/audit.log"


def test_the_published_sample_says_nothing(caplog):
    config.parse(json.dumps(PUBLISHED_SAMPLE), "/c.json")
    assert caplog.records == []


def test_other_numbers_than_the_originals_are_upper_bounds_and_are_said_once(caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    for _ in range(2):
        read = parsed(
            datasetConfig={"prefetchConcurrency": 48, "listConcurrency": 4},
            checkpointConfig={"prefetchConcurrency": 8, "uploadConcurrency": 2, "uploadBufferSizeMB": 64},
        )
    assert read.options == {
        "dataset_max_concurrency": 48,
        "list_max_concurrency": 4,
        "checkpoint_max_concurrency": 8,
        "upload_max_concurrency": 2,
        "upload_buffer_bytes": 64 << 20,
    }
    assert len([record for record in caplog.records if "prefetchConcurrency=48" in record.message]) == 1


def test_units_become_ours():
    read = parsed(
        datasetConfig={"prefetchMB": 16, "prefetchUnitMB": 4, "timeoutMs": 2500, "enableFastList": True},
        checkpointConfig={"prefetchIoSizeMB": 2, "uploadIoSizeMB": 8, "writeIoSizeMB": 32},
        network={"deadlineSeconds": 1.5, "caFile": "/ca.pem"},
    )
    assert read.options == {
        "max_bytes_in_flight": 16 << 20,
        "read_stall_seconds": 2.5,
        "fast_list": True,
        "min_range_bytes": 2 << 20,
        "part_size_bytes": 8 << 20,
        "deadline_seconds": 1.5,
        "ca_file": "/ca.pem",
    }


@pytest.mark.parametrize("names", [("network", "datasetConfig"), ("datasetConfig", "network")])
def test_the_network_object_wins_over_the_originals_key_in_any_order(names):
    values = {"network": {"maxBytesInFlight": "1048576"}, "datasetConfig": {"prefetchMB": 16}}
    assert parsed(**{name: values[name] for name in names}).options == {"max_bytes_in_flight": 1 << 20}


def test_our_own_fields_are_read():
    read = parsed(
        network={"addressing": "path", "statsLogSeconds": 5, "auditAll": True},
        compatibility={"missing": "skip", "emptyPrefix": "allow"},
    )
    assert (read.addressing, read.stats_log_seconds, read.audit_all) == ("path", 5, True)
    assert (read.missing, read.empty_prefix) == ("skip", "allow")


@pytest.mark.parametrize(("given", "used"), [(1e10, 86_400), (1e-9, 0.001), (10**400, 86_400)])
def test_seconds_between_lines_of_counters_have_bounds(given, used, caplog, monkeypatch):
    monkeypatch.setattr(config, "_said", set())
    assert parsed(network={"statsLogSeconds": given}).stats_log_seconds == used
    assert f"{used} is used" in caplog.text


@pytest.mark.parametrize(("given", "level"), [(0, 10), (3, 40), (9, 40), ("warn", 30), ("INFO", 20)])
def test_levels_are_numbers_or_names(given, level):
    assert parsed(logLevel=given).log_level == level


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"datasetConfig": {"prefetchConcurrency": "24"}}, "datasetConfig.prefetchConcurrency"),
        ({"datasetConfig": {"prefetchConcurrency": 2.5}}, "datasetConfig.prefetchConcurrency"),
        ({"datasetConfig": {"prefetchConcurrency": True}}, "datasetConfig.prefetchConcurrency"),
        ({"datasetConfig": {"prefetchConcurrency": -1}}, "datasetConfig.prefetchConcurrency"),
        ({"datasetConfig": {"enableFastList": 1}}, "datasetConfig.enableFastList"),
        ({"datasetConfig": 3}, "datasetConfig"),
        ({"logPath": 3}, "logPath"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"logLevel": -1}, "logLevel"),
        ({"network": {"addressing": "sideways"}}, "network.addressing"),
        ({"network": {"deadlineSeconds": None}}, "network.deadlineSeconds"),
        ({"network": {"maxBytesInFlight": "64 MiB"}}, "network.maxBytesInFlight"),
        ({"network": {"maxBytesInFlight": "9" * 5000}}, "network.maxBytesInFlight"),
        ({"compatibility": {"missing": "ignore"}}, "compatibility.missing"),
        ({"network": {"proxy": 3128}}, "network.proxy"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_key_and_file(document, named):
    with pytest.raises(ConfigError) as refused:
        config.parse(json.dumps(document), "/c.json")
    assert named in str(refused.value)
    assert "/c.json" in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"logLevel": ' + "9" * 5000 + "}"], ids=["depth", "digits"])
def test_what_is_beyond_pythons_own_bounds_is_one_line_too(text):
    with pytest.raises(ConfigError, match=r"config file /c\.json .*correct it") as refused:
        config.parse(text, "/c.json")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["deadlineSeconds", "maxConcurrency", "maxBytesInFlight"])
def test_a_number_that_no_float_holds_is_a_very_large_one(key):
    assert max(parsed(network={key: 10**400}, datasetConfig={"timeoutMs": 10**400}).options.values()) <= 2**63


def test_infinity_is_refused():
    with pytest.raises(ConfigError, match="deadlineSeconds"):
        config.parse('{"network": {"deadlineSeconds": Infinity}}', "/c.json")


def test_zero_means_the_default_with_one_warning(caplog):
    for _ in range(2):
        assert parsed(datasetConfig={"prefetchMB": 0, "timeoutMs": 0}).options == {}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_an_unknown_key_is_one_warning_that_names_the_nearest_known_one(caplog):
    for _ in range(2):
        parsed(datasetConfig={"prefetchConcurency": 3}, logpath="x")
    texts = [record.message for record in caplog.records]
    assert len(texts) == 2
    assert "datasetConfig.prefetchConcurrency" in texts[0]
    assert "logPath" in texts[1]


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"storage": {"tiers": [1, {"hot": True}], "prefetchMB": "many"}}, "storage"),
        ({"storage": []}, "storage"),
        ({"network": {"retry": {"base": 1}}}, "network.retry"),
        ({"datasetConfig": {"cache": None}}, "datasetConfig.cache"),
    ],
)
def test_a_file_of_a_later_version_is_read_with_one_warning_for_what_is_new(
    document, named, caplog, monkeypatch
):
    monkeypatch.setattr(config, "_said", set())
    for _ in range(2):
        read = config.parse(json.dumps({**document, "logLevel": 2}), "/later.json")
    assert (read.options, read.log_level) == ({}, logging.WARNING)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"unknown key {named} in /later.json" in record.getMessage()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"network": {"addressing": "anycast"}}, "must be one of auto, virtual, path, cname, not 'anycast'"),
        ({"compatibility": {"missing": "retry"}}, "must be one of"),
        ({"logLevel": "TRACE"}, "logLevel"),
        ({"datasetConfig": {"prefetchConcurrency": "auto"}}, "must be a whole number, not a string"),
        ({"datasetConfig": {"timeoutMs": {"read": 1}}}, "must be a whole number, not an object"),
    ],
)
def test_a_value_of_a_later_version_is_an_error_as_what_it_means_is_not_known(document, said):
    with pytest.raises(ConfigError) as refused:
        config.parse(json.dumps(document), "/later.json")
    assert said in str(refused.value)
    assert "/later.json" in str(refused.value)


def test_a_first_range_is_accepted_and_said_to_have_no_effect(caplog):
    caplog.set_level("INFO")
    for _ in range(2):
        assert parsed(datasetConfig={"prefetchUnitMB": 100}).options == {}
    [record] = [record for record in caplog.records if "prefetchUnitMB=100" in record.message]
    assert "plain GET" in record.message
    assert record.levelname == "INFO"


def test_what_has_no_effect_is_silent_at_its_idle_value_and_warned_of_otherwise(caplog):
    parsed(ioEngineType=0, datasetConfig={"enableBatchGet": False, "batchGetSize": 4, "listWorker": 1})
    assert caplog.records == []
    parsed(ioEngineType=1, datasetConfig={"enableBatchGet": True})
    assert "ioEngineType" in caplog.text
    assert "enableBatchGet" in caplog.text


def test_empty_texts_are_absent():
    read = parsed(logPath="", auditPath="", network={"proxy": ""})
    assert (read.log_path, read.audit_path, read.options) == (None, None, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n "logLevel": 1,\n}', "line 3 column 1"),
        ("", "line 1 column 1"),
        ("[1]", "one JSON object, not an array"),
        ("// no", "line 1 column 1"),
    ],
)
def test_what_is_not_a_json_object_is_refused_with_its_place(text, said):
    with pytest.raises(ConfigError) as refused:
        config.parse(text, "/c.json")
    assert said in str(refused.value)


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json cannot be read"):
        config.load(tmp_path / "nowhere.json")
    (tmp_path / "here.json").write_text('{"logLevel": 3}')
    assert config.load(tmp_path / "here.json").log_level == logging.ERROR


def test_without_a_path_the_default_file_is_read_if_it_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "DEFAULT_PATH", str(tmp_path / "config.json"))
    assert config.load("") == config.ClientConfig()
    (tmp_path / "config.json").write_text('{"logLevel": 0}')
    assert config.load(None).log_level == logging.DEBUG


def test_a_config_is_a_frozen_picklable_value():
    read = parsed(datasetConfig={"prefetchConcurrency": 3})
    assert pickle.loads(pickle.dumps(read)) == read
    with pytest.raises(AttributeError):
        read.log_level = 3  # type: ignore[misc]


def test_numbers_beyond_any_bound_are_still_numbers():
    read = parsed(datasetConfig={"prefetchMB": 10**30, "prefetchConcurrency": 10**30})
    assert set(read.options.values()) == {(1 << 63) - 1}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("datasetconfig", "datasetConfig"),
        ("prefetchWorker", "datasetConfig.prefetchWorker"),
        ("deadlineSecond", "network.deadlineSeconds"),
        ("network.proxi", "network.proxy"),
    ],
)
def test_the_nearest_key_is_found_with_or_without_its_object(name, nearest, caplog):
    outer, _, inner = name.partition(".")
    parsed(**{outer: {inner: 1} if inner else 1})
    assert caplog.text.strip().endswith(f"the nearest known one is {nearest}")


def test_what_is_said_of_options_names_key_and_file():
    read = parsed(datasetConfig={"prefetchMB": 7})
    said = read.in_the_files_words("configure: option max_bytes_in_flight is 7; option x stays")
    assert (
        said
        == "configure: datasetConfig.prefetchMB in /c.json (option max_bytes_in_flight) is 7; option x stays"
    )


def test_remarks_come_after_the_log_was_set_up(caplog):
    levels = []

    def set_up(read):
        assert caplog.records == []
        levels.append(read.log_level)

    config.parse('{"logLevel": 0, "logpath": "x"}', "/c.json", set_up)
    assert levels == [logging.DEBUG]
    assert len(caplog.records) == 1


def test_bounds_of_the_client_name_key_and_file(site, caplog):
    def made(**network):
        return OssCheckpoint(**site.configured(network=network)).reader("/bucket/a").close()

    with pytest.raises(ConfigError, match=r"network\.maxBytesInFlight in .*config\.json .*at least 1048576"):
        made(maxBytesInFlight=1)
    made(maxConcurrency=10**30)
    assert re.search(r"network\.maxConcurrency in .* above its bound", caplog.text)
