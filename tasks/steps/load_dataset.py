"""Step: a fixed sequence of samples of a data set, each known by the digest of its content."""

from tasks.data.source import Source, annotations_of, decodes_files, open_source, source_files
from tasks.data.subset import sample_indices
from tasks.engine.artifact_store import file_identity
from tasks.engine.caching import code_digest, step
from tasks.records import DatasetRef, Runtime


def source_identity(source: Source) -> str:
    """A text that changes with the files of a source and with the code that reads them.

    A file that is missing is reported when the source is opened.

    Args:
        source: The source of samples.
    """
    files = file_identity(*(file for file in source_files(source) if file.exists()))
    return f"{files} {code_digest('tasks.data.source')}"


@step
def load_dataset(
    source: Source, identity: str, subset_size: int | None, runtime: Runtime, *, shuffle: bool = False, seed: int = 0
) -> DatasetRef:
    """The chosen samples, in order.

    Args:
        source: The source of samples.
        identity: Changes with the files of the source (:func:`source_identity`).
        subset_size: Number of samples; None for all.
        runtime: How the run works; it changes no result.
        shuffle: Whether to draw the samples; otherwise they are the first ones.
        seed: Seed of the draw.
    """
    samples = open_source(source)
    indices = sample_indices(len(samples), subset_size, shuffle, seed)
    return DatasetRef(
        source=source,
        indices=indices,
        digests=tuple(samples.digest(index) for index in indices),
        available=len(samples),
        labels=annotations_of(samples).take(indices).digest(),
        decoding=code_digest(type(samples).__module__) if decodes_files(samples) else "",
    )
