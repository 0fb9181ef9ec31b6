"""What an epoch is, in few lines of plain Python: the judge of the native order and of the division."""

from __future__ import annotations

_ALL = (1 << 64) - 1


def mix(value):
    value = (value + 0x9E3779B97F4A7C15) & _ALL
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _ALL
    return value ^ (value >> 31)


def epoch_order(rows, fingerprint, seed, epoch):
    """Return the rows of an index in the order of an epoch."""
    if seed is None:
        return list(range(rows))
    key = mix(mix(mix(int(fingerprint, 16)) ^ seed) ^ epoch)
    half = max(1, (max(rows - 1, 0).bit_length() + 1) // 2)

    def permuted(value):
        left, right = value >> half, value & ((1 << half) - 1)
        for turn in range(4):
            left, right = right, left ^ (mix(right ^ mix(key ^ turn)) & ((1 << half) - 1))
        return left << half | right

    return list(map(permuted, _walk(permuted, rows)))


def _walk(permuted, rows):
    """Yield for each position the last value outside of the rows, from which one more step leads inside."""
    for position in range(rows):
        value = position
        while permuted(value) >= rows:
            value = permuted(value)
        yield value


def batches_of(sequence, rank, world_size, batch_size, uneven):
    """Return the batches that a rank's trainer sees, over any number of workers."""
    sequence, last_round = list(sequence), len(sequence) % world_size
    if uneven == "drop":
        sequence = sequence[: len(sequence) - last_round]
    own = sequence[rank::world_size]
    return [own[at : at + batch_size] for at in range(0, len(own), batch_size)]
