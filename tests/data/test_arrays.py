"""Samples from NumPy files: what is read, and what is refused with which words."""

import dataclasses
import hashlib
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.arrays import Arrays, open_arrays
from tasks.errors import InputError
from tests.support.privileges import like_anybody

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array([3, 0, 1, 3], np.int32)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save(tmp_path / "data.npz", x=X, y=Y)


def test_one_input_reads_x_whatever_its_name(archive: Path) -> None:
    samples = open_arrays(Arrays(archive))
    assert len(samples) == 4
    assert samples.names == ("0", "1", "2", "3")
    loaded = samples.load(2, ("images",))
    assert list(loaded) == ["images"]
    np.testing.assert_array_equal(loaded["images"], X[2])
    assert loaded["images"].dtype == np.float32


def test_labels_become_int64(archive: Path) -> None:
    labels = open_arrays(Arrays(archive)).labels
    assert labels is not None
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, Y)


def test_labels_may_be_absent_elsewhere_or_declined(tmp_path: Path, archive: Path) -> None:
    assert open_arrays(Arrays(save(tmp_path / "unlabelled.npz", x=X))).labels is None
    classes = open_arrays(Arrays(save(tmp_path / "classes.npz", x=X, classes=Y), labels="classes")).labels
    np.testing.assert_array_equal(np.asarray(classes), Y)
    # A model with inputs called x and y: the array y is a sample.
    both = open_arrays(Arrays(archive, labels=None))
    assert both.labels is None
    assert both.load(0, ("x", "y"))["y"] == Y[0]


def test_the_only_array_serves_one_input(tmp_path: Path) -> None:
    samples = open_arrays(Arrays(save(tmp_path / "a.npz", pictures=X, y=Y)))
    np.testing.assert_array_equal(samples.load(1, ("images",))["images"], X[1])


def test_the_array_named_like_the_input_serves_it(tmp_path: Path) -> None:
    samples = open_arrays(Arrays(save(tmp_path / "a.npz", images=X, masks=X * 2)))
    np.testing.assert_array_equal(samples.load(1, ("masks",))["masks"], X[1] * 2)


def test_samples_names_the_array(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=X, other=X + 1, unrelated=np.zeros(99))
    samples = open_arrays(Arrays(path, samples="other"))
    np.testing.assert_array_equal(samples.load(0, ("images",))["images"], X[0] + 1)


def test_several_inputs_read_one_array_each(tmp_path: Path) -> None:
    ids = np.arange(4, dtype=np.int64)
    samples = open_arrays(Arrays(save(tmp_path / "a.npz", tokens=X, ids=ids)))
    loaded = samples.load(3, ("ids", "tokens"))
    assert list(loaded) == ["ids", "tokens"]
    assert loaded["ids"].shape == ()
    assert loaded["ids"] == 3
    np.testing.assert_array_equal(loaded["tokens"], X[3])


def test_npy_is_memory_mapped_and_rows_are_copies(tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, X)
    samples = open_arrays(Arrays(path))
    assert isinstance(samples.arrays["x"], np.memmap)
    row = samples.load(1, ("images",))["images"]
    assert not isinstance(row, np.memmap)
    row[:] = 0
    np.testing.assert_array_equal(samples.load(1, ("images",))["images"], X[1])


def test_foreign_byte_order_and_memory_order_are_normalised(tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, np.asfortranarray(X.astype(">f4")))
    row = open_arrays(Arrays(path)).load(2, ("images",))["images"]
    assert row.dtype.isnative
    assert row.flags.c_contiguous
    np.testing.assert_array_equal(row, X[2])


def test_digest_follows_content_only(tmp_path: Path, archive: Path) -> None:
    digest = open_arrays(Arrays(archive)).digest
    assert len(digest(0)) == len(hashlib.sha256().hexdigest())
    assert len({digest(index) for index in range(4)}) == 4
    moved = open_arrays(Arrays(save(tmp_path / "moved.npz", x=X[::-1], y=Y[::-1])))
    assert moved.digest(3) == digest(0)
    np.save(tmp_path / "data.npy", X.astype(">f4"))
    assert open_arrays(Arrays(tmp_path / "data.npy")).digest(1) == digest(1)


@pytest.mark.parametrize(
    "other",
    [X.astype(np.float64), X.view(np.int32), X.reshape(4, 3, 2), X + 1, X[:, :1]],
    ids=["float64", "same-bytes-as-int32", "reshaped", "values", "part"],
)
def test_digest_sees_values_dtype_and_shape(tmp_path: Path, archive: Path, other: np.ndarray) -> None:
    changed = open_arrays(Arrays(save(tmp_path / "changed.npz", x=other)))
    assert changed.digest(1) != open_arrays(Arrays(archive)).digest(1)


def cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def npy(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[200] ^= 1  # inside the first array's values: only the checksum tells
    path.write_bytes(data)
    return path


def zipped_text(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return path


@dataclass(frozen=True)
class Bad:
    id: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]
    options: tuple[tuple[str, Any], ...] = ()


HEADER = "{'descr': %s, 'fortran_order': False, 'shape': %s, }\n"
FLOAT = "'<f4'"


def with_header(path: Path, text: str) -> Path:
    """A .npy file of 64 zeros with any header; as .npz the same inside."""
    header = text.encode("latin1")
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + bytes(64)
    if path.suffix == ".npy":
        return written(path, data)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", data)
    return path


# Each is another error of numpy, or of the parser of Python that it calls.
HEADERS = {
    "negative": HEADER % (FLOAT, "(-1, 4)"),
    "all negative": HEADER % (FLOAT, "(-4, -4)"),
    "beyond 64 bits": HEADER % (FLOAT, f"({10**23}, 4)"),
    "beyond all memory": HEADER % (FLOAT, f"({10**12}, 4)"),
    "overflowing": HEADER % (FLOAT, f"({2**62}, 4)"),
    "overflowing times zero": HEADER % (FLOAT, f"({2**62}, 0)"),
    "nested": HEADER % (FLOAT, "(" * 300 + ")" * 300),
    "nested signs": "-" * 9000 + "1",
    "never closed": "[" * 90,
    "longer than numpy parses": HEADER % (FLOAT, "(" * 5000 + ")" * 5000),
    "a truth as a length": HEADER % (FLOAT, "(True,)"),
    "a fraction as a length": HEADER % (FLOAT, "(2.0,)"),
    "more axes than numpy has": HEADER % (FLOAT, "(" + "1," * 70 + ")"),
    "no dictionary": "[]",
    "zeros": "\0" * 20,
    "no type": HEADER % ("None", "(4,)"),
    "no names of fields": HEADER % ("['a']", "(4,)"),
    "nested fields": HEADER % ("[('a', " * 60 + FLOAT + ")]" * 60, "(4,)"),
    "long fields": HEADER % ("('<f4', (1000000000000,))", "(4,)"),
}


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_any_header_that_numpy_cannot_use_is_refused_in_one_line(tmp_path: Path, header: str, suffix: str) -> None:
    path = with_header(tmp_path / f"a{suffix}", header)
    with pytest.raises(InputError) as caught:
        open_arrays(Arrays(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_headers_of_python_2_are_read_without_a_warning(tmp_path: Path, suffix: str) -> None:
    samples = open_arrays(Arrays(with_header(tmp_path / f"a{suffix}", HEADER % (FLOAT, "(4L, 3L)"))))
    np.testing.assert_array_equal(samples.load(3, ("images",))["images"], np.zeros(3, np.float32))


def test_an_archive_that_unpacks_to_more_than_there_is_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(10**6))
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    with pytest.raises(InputError, match=r"a\.npz: the arrays, .* would take 0\.0 GiB; this machine has 0\.0 GiB"):
        open_arrays(Arrays(path))


OBJECTS = np.array([{}, {}], object)
BAD = (
    Bad("missing", lambda d: d / "data.npz", ("data.npz", "does not exist")),
    Bad("misspelled", lambda d: save(d / "datas.npz", x=X).with_name("data.npz"), ("Did you mean 'datas.npz'?",)),
    Bad("missing-folder", lambda d: d / "no" / "data.npz", ("does not exist", "does not exist either")),
    Bad("folder", lambda d: (d / "a.npz").mkdir() or d / "a.npz", ("is a folder",)),  # type: ignore[func-returns-value]
    Bad("suffix", lambda d: written(d / "a.csv", b"1,2"), ("'.csv'", "expected '.npz' or '.npy'")),
    Bad("no-suffix", lambda d: written(d / "a", b"1,2"), ("suffix ''", "'.npz'")),
    Bad("empty-npz", lambda d: written(d / "a.npz", b""), ("a.npz", "not a readable .npz")),
    Bad("empty-npy", lambda d: written(d / "a.npy", b""), ("a.npy", "not a readable .npy")),
    Bad("text-npy", lambda d: written(d / "a.npy", b"hello, world: it is text"), ("not a readable .npy", "magic")),
    Bad("npy-as-npz", lambda d: npy(d / "a.npy", X).rename(d / "a.npz"), ("not a zip archive",)),
    Bad("npz-as-npy", lambda d: save(d / "a.npz", x=X).rename(d / "a.npy"), ("not a readable .npy",)),
    Bad("cut-npz", lambda d: cut(save(d / "a.npz", x=X), 0.7), ("a.npz", "cut off")),
    Bad("cut-npy", lambda d: cut(npy(d / "a.npy", X), 0.9), ("a.npy", "not a readable .npy")),
    Bad("cut-npy-header", lambda d: cut(npy(d / "a.npy", X), 0.1), ("a.npy", "not a readable .npy")),
    Bad("flipped-bit", lambda d: flipped(save(d / "a.npz", x=X)), ("a.npz", "CRC")),
    Bad("other-zip", lambda d: zipped_text(d / "a.npz"), ("'readme.txt'", "not an array")),
    Bad("objects-npz", lambda d: save(d / "a.npz", x=OBJECTS), ("Python objects", "expected numbers")),
    Bad("objects-npy", lambda d: npy(d / "a.npy", OBJECTS), ("Python objects", "expected numbers")),
    Bad("strings", lambda d: save(d / "a.npz", x=np.array(["a", "b"])), ("'x'", "<U1", "expected real numbers")),
    Bad("complex", lambda d: save(d / "a.npz", x=X * 1j), ("'x'", "complex64", "expected real numbers")),
    Bad("dates", lambda d: npy(d / "a.npy", np.zeros(2, "datetime64[s]")), ("datetime64", "expected real numbers")),
    Bad("records", lambda d: npy(d / "a.npy", np.zeros(2, "i4,f4")), ("'x'", "expected real numbers")),
    Bad("no-samples", lambda d: npy(d / "a.npy", X[:0]), ("'x'", "(0, 2, 3)", "at least one sample")),
    Bad("empty-samples", lambda d: npy(d / "a.npy", X[:, :0]), ("'x'", "(4, 0, 3)", "is empty")),
    Bad("scalar", lambda d: npy(d / "a.npy", np.float32(1)), ("'x'", "single number", "axis 0")),
    Bad("nothing", lambda d: save(d / "a.npz"), ("no array of samples",)),
    Bad("only-labels", lambda d: save(d / "a.npz", y=Y), ("no array of samples", "'x'")),
    Bad("lengths", lambda d: save(d / "a.npz", a=X, b=X[:3]), ("different lengths", "'a' 4", "'b' 3")),
    Bad("labels-length", lambda d: save(d / "a.npz", x=X, y=Y[:3]), ("'y'", "(3,)", "expected (4,)")),
    Bad("labels-shape", lambda d: save(d / "a.npz", x=X, y=Y[:, None]), ("'y'", "(4, 1)", "expected (4,)")),
    Bad("labels-float", lambda d: save(d / "a.npz", x=X, y=Y * 1.0), ("'y'", "float64", "expected integers")),
    Bad("labels-text", lambda d: save(d / "a.npz", x=X, y=Y.astype(str)), ("'y'", "expected integers")),
    Bad("labels-bool", lambda d: save(d / "a.npz", x=X, y=Y > 1), ("'y'", "bool", "expected integers")),
    Bad("labels-negative", lambda d: save(d / "a.npz", x=X, y=Y - 1), ("label -1 of sample 1", "0 or more")),
    Bad(
        "labels-huge",
        lambda d: save(d / "a.npz", x=X, y=Y.astype(np.uint64) + np.uint64(2**63)),
        ("label 9223372036854775811",),
    ),
    Bad(
        "samples-unknown",
        lambda d: save(d / "a.npz", images=X),
        ("samples is 'image'", "'images'", "Did you mean 'images'?"),
        (("samples", "image"),),
    ),
    Bad(
        "labels-unknown",
        lambda d: save(d / "a.npz", x=X, classes=Y),
        ("labels is 'clases'", "Did you mean 'classes'?"),
        (("labels", "clases"),),
    ),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_file_is_refused_when_opened(bad: Bad, tmp_path: Path) -> None:
    spec = dataclasses.replace(Arrays(bad.make(tmp_path)), **dict(bad.options))
    with pytest.raises(InputError) as caught:
        open_arrays(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(spec.path))
    for word in bad.words:
        assert word in message


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_without_permission_is_not_called_damaged(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch(0)
    with like_anybody(), pytest.raises(InputError, match=r"is not a readable .*Permission denied"):
        open_arrays(Arrays(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bad_values_are_refused_when_loaded(tmp_path: Path, value: float, dtype: type) -> None:
    array: np.ndarray = X.astype(dtype)
    array[2, 1, 1] = value
    samples = open_arrays(Arrays(save(tmp_path / "a.npz", x=array)))
    samples.load(1, ("images",))
    with pytest.raises(InputError, match=r"a\.npz: array 'x', sample 2: 1 of 6 values are NaN or infinite"):
        samples.load(2, ("images",))


@dataclass(frozen=True)
class Unfed:
    id: str
    arrays: tuple[str, ...]
    inputs: tuple[str, ...]
    words: tuple[str, ...]


UNFED = (
    Unfed("no-x", ("a", "b"), ("images",), ("expected an array 'x' or 'images'", "there is 'a', 'b'")),
    Unfed("near", ("image", "mask"), ("images",), ("Did you mean 'image'?",)),
    Unfed("second-input", ("x",), ("x", "mask"), ("one array per model input, here 'mask'", "there is 'x'")),
    Unfed("second-near", ("ids", "maks"), ("ids", "mask"), ("Did you mean 'maks'?",)),
    Unfed("many", tuple("abcdefgh"), ("images",), ("'e' and 3 more",)),
)


@pytest.mark.parametrize("case", UNFED, ids=lambda case: case.id)
def test_inputs_without_array_are_refused(case: Unfed, tmp_path: Path) -> None:
    samples = open_arrays(Arrays(save(tmp_path / "a.npz", **dict.fromkeys(case.arrays, X))))
    with pytest.raises(InputError) as caught:
        samples.load(0, case.inputs)
    for word in ("a.npz", *case.words):
        assert word in str(caught.value)
