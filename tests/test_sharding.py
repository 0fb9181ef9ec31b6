"""Who reads what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osstorchconnector.sharding import positions_of_worker


@given(count=st.integers(0, 500), num_workers=st.integers(1, 40))
def test_all_workers_together_read_every_position_once_in_order(count, num_workers):
    shares = [positions_of_worker(count, worker, num_workers) for worker in range(num_workers)]
    assert sorted(position for share in shares for position in share) == list(range(count))
    assert all(list(share) == sorted(share) for share in shares)
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("count", "worker", "workers"), [(-1, 0, 1), (1, 1, 1), (1, -1, 1), (1, 0, 0)])
def test_impossible_workers_are_refused(count, worker, workers):
    with pytest.raises(ValueError, match="has no share"):
        positions_of_worker(count, worker, workers)
