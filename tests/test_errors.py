"""The error tree: what each class is, and how it survives pickles and PyTorch's way of re-raising."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle

import pytest
from torch._utils import ExceptionWrapper

from osstorchconnector import errors

LINE = (
    "GetObject oss://bucket/a key[0..100): not there; check the name "
    "[status=404 code=NoSuchKey ec=0026-00000001 request_id=5F3A attempts=2 elapsed=1.5s]"
)
CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.OssError) and found.__module__ == errors.__name__
]
BUILTINS = {
    "ConfigError": (ValueError, errno.EINVAL),
    "CredentialsError": (PermissionError, errno.EPERM),
    "PermissionDeniedError": (PermissionError, errno.EPERM),
    "NotFoundError": (FileNotFoundError, errno.ENOENT),
    "AlreadyExistsError": (FileExistsError, errno.EEXIST),
    "EmptyDatasetError": (FileNotFoundError, errno.ENOENT),
    "ObjectChangedError": (OSError, errno.ESTALE),
    "ObjectArchivedError": (PermissionError, errno.EPERM),
    "ThrottledError": (OSError, errno.EIO),
    "RequestTimeoutError": (TimeoutError, errno.ETIMEDOUT),
    "ConnectionFailedError": (ConnectionError, errno.ECONNRESET),
    "IntegrityError": (OSError, errno.EIO),
    "ProtocolError": (OSError, errno.EIO),
    "ListingError": (errors.ProtocolError, errno.EIO),
    "FormatError": (ValueError, errno.EINVAL),
    "NotAllowedError": (errors.FormatError, errno.EINVAL),
    "UploadError": (OSError, errno.EIO),
    "ClosedError": (ValueError, errno.EBADF),
    "ForkedHandleError": (OSError, errno.EBADF),
    "InternalError": (OSError, errno.EIO),
    "ServiceError": (OSError, errno.EIO),
}


def same_fields(left: errors.OssError, right: errors.OssError) -> bool:
    return {**vars(left), "errno": left.errno} == {**vars(right), "errno": right.errno}


def test_the_tree_has_exactly_these_classes():
    assert {found.__name__ for found in CLASSES} == {"OssError", *BUILTINS}


@pytest.mark.parametrize(("name", "expected"), BUILTINS.items())
def test_each_class_is_what_a_user_would_catch(name, expected):
    builtin, number = expected
    error = getattr(errors, name)("text")
    assert isinstance(error, (builtin, errors.OssError))
    assert isinstance(error, OSError)
    assert isinstance(error, RuntimeError)
    assert error.errno == number
    assert str(error) == "text"


@pytest.mark.parametrize("found", CLASSES)
def test_one_string_rebuilds_the_fields_from_the_machine_tail(found):
    error = found(LINE)
    assert (error.operation, error.uri) == ("GetObject", "oss://bucket/a key")
    assert (error.status, error.code, error.ec) == (404, "NoSuchKey", "0026-00000001")
    assert (error.request_id, error.attempts, error.elapsed_seconds) == ("5F3A", 2, 1.5)
    assert str(error) == LINE


@pytest.mark.parametrize("found", CLASSES)
def test_pytorch_re_raises_the_same_class_with_the_same_fields(found):
    original = found(LINE)
    try:
        raise original
    except errors.OssError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(found) as raised:
        wrapped.reraise()
    assert type(raised.value) is found
    assert same_fields(raised.value, original)
    assert "Caught" in str(raised.value)


@pytest.mark.parametrize("found", CLASSES)
def test_no_class_has_what_makes_pytorch_call_it_otherwise(found):
    assert not hasattr(found, "message")
    assert not issubclass(found, KeyError)


@pytest.mark.parametrize("found", CLASSES)
def test_pickles_and_copies_keep_every_field(found):
    error = found(LINE, uri="oss://other/key", errno=errno.ECONNREFUSED, attempts=7, retryable=True)
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is found
        assert str(copied) == LINE
        assert same_fields(copied, error)


def test_given_fields_win_over_the_tail():
    error = errors.ServiceError(LINE, status=500, code="Other")
    assert (error.status, error.code, error.attempts) == (500, "Other", 2)


def test_a_dash_in_the_tail_means_nothing():
    error = errors.InternalError("open: broke [status=- code=- ec=- request_id=- attempts=0 elapsed=0.0s]")
    assert (error.status, error.code, error.request_id, error.attempts) == (None, "", "", 0)


def test_an_upload_error_tells_its_state_and_upload_also_from_one_string():
    text = "close oss://b/k: unsure [status=- code=- ec=- request_id=- attempts=1 elapsed=0.0s state=unknown upload_id=AB]"
    error = errors.UploadError(text)
    assert (error.state, error.upload_id) == ("unknown", "AB")
    copied = pickle.loads(pickle.dumps(errors.UploadError("x", state="committed", upload_id="CD")))
    assert (copied.state, copied.upload_id) == ("committed", "CD")
    assert errors.UploadError("x").state == "not_committed"


def test_a_text_without_a_tail_is_taken_as_it_is():
    error = errors.ConfigError("list[0] of x=1 is wrong")
    assert str(error) == "list[0] of x=1 is wrong"
    assert (error.operation, error.status) == ("", None)


def test_advice_goes_before_the_machine_tail():
    error = errors.NotFoundError(LINE)
    error.advise("or skip it")
    assert "check the name; or skip it [status=404" in str(error)
    assert errors.NotFoundError(str(error)).request_id == "5F3A"
    bare = errors.NotFoundError("gone")
    bare.advise("look")
    assert str(bare) == "gone; look"


def test_only_what_may_work_later_is_retryable():
    retryable = {found.__name__ for found in CLASSES if found("x").retryable}
    assert retryable == {"ThrottledError", "RequestTimeoutError", "ConnectionFailedError"}


@pytest.mark.parametrize(
    ("status", "expected"), [(None, False), (400, False), (500, True), (501, False), (503, True)]
)
def test_trouble_of_the_service_itself_may_be_over_later(status, expected):
    assert errors.ServiceError("x", status=status).retryable is expected
