"""Step: a data set becomes a fixed sequence of samples, each known by the digest of its content."""

from tasks.caching import code_digest, step
from tasks.data.source import Source, annotations_of, decodes_files, open_source, source_files
from tasks.data.subset import select
from tasks.records import DatasetRef, Runtime
from tasks.store import file_identity


def source_identity(source: Source) -> str:
    """What tells whether the files of a source, or the code that reads them, changed.

    A file that is missing is reported when the source is opened.
    """
    files = file_identity(*(file for file in source_files(source) if file.exists()))
    return f"{files} {code_digest('tasks.data.source')}"


@step
def load_dataset(
    source: Source, identity: str, subset_size: int | None, runtime: Runtime, *, shuffle: bool = False, seed: int = 0
) -> DatasetRef:
    """Choose the samples: the first ``subset_size``, or as many drawn with ``seed``, or all.

    ``identity`` tells whether what is read changed since (see :func:`source_identity`).
    """
    samples = open_source(source)
    indices = select(len(samples), subset_size, shuffle, seed)
    return DatasetRef(
        source=source,
        indices=indices,
        digests=tuple(samples.digest(index) for index in indices),
        available=len(samples),
        labels=annotations_of(samples).take(indices).digest(),
        decoding=code_digest(type(samples).__module__) if decodes_files(samples) else "",
    )
