"""Running as root does not excuse a test from permissions: inside, this thread obeys them like anybody else."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522  # of the structures below, as linux/capability.h has them
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


@contextmanager
def like_anybody() -> Iterator[None]:
    """Give up the right to ignore the permissions of files, for this thread and what it does in here."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    within = (ctypes.c_uint32 * 6)(*before)
    within[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    assert libc.capset(header, within) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
