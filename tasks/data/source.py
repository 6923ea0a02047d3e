"""All sources of samples that a configuration can name. To add one: its module, then a line in each place below."""

from pathlib import Path

from tasks.data.annotated_files import AnnotatedFiles, AnnotatedSamples, annotated_paths, open_annotated_files
from tasks.data.annotations import Annotations
from tasks.data.arrays import Arrays, open_arrays
from tasks.data.custom import Custom, CustomSamples, custom_paths, open_custom
from tasks.data.digits import Digits, open_digits
from tasks.data.image_folder import ImageFolder, ImageSamples, image_paths, open_image_folder
from tasks.data.operations import Sizes
from tasks.data.samples import Array, Samples

Source = Arrays | ImageFolder | Digits | AnnotatedFiles | Custom


def open_source(spec: Source) -> Samples:
    """The samples of a source.

    Args:
        spec: The source and its options.

    Raises:
        InputError: The source cannot be used.
    """
    match spec:
        case Arrays():
            return open_arrays(spec)
        case ImageFolder():
            return open_image_folder(spec)
        case Digits():
            return open_digits(spec)
        case AnnotatedFiles():
            return open_annotated_files(spec)
        case Custom():
            return open_custom(spec)


def source_files(spec: Source) -> tuple[Path, ...]:
    """The files and folders that a source reads.

    Args:
        spec: The source and its options.
    """
    match spec:
        case Arrays():
            return (spec.path,)
        case ImageFolder():
            return image_paths(spec)
        case Digits():
            return ()
        case AnnotatedFiles():
            return annotated_paths(spec)
        case Custom():
            return custom_paths(spec)


def decodes_files(samples: Samples) -> bool:
    """Whether the samples are known by digests of files, which are decoded, rather than by digests of arrays.

    Args:
        samples: An opened source.
    """
    return isinstance(samples, AnnotatedSamples | ImageSamples)


def annotations_of(samples: Samples) -> Annotations:
    """The annotations of the samples; arrays and folders of images have at most classes.

    Args:
        samples: An opened source.
    """
    if isinstance(samples, AnnotatedSamples | CustomSamples):
        return samples.annotations
    return Annotations(samples.names, labels=samples.labels)


def sizes_of(samples: Samples, index: int, array: Array) -> Sizes:
    """The sizes of the image in a loaded sample.

    Sources other than annotated files know only the size that the model reads.

    Args:
        samples: An opened source.
        index: Number of the sample.
        array: What :meth:`Samples.load` gave for it.
    """
    if isinstance(samples, AnnotatedSamples):
        return samples.sizes[index]
    shape = (1, 1, *array.shape) if array.ndim < 3 else array.shape
    # The axis of channels, the first or the last, is the shortest.
    fed = (shape[-2], shape[-1]) if shape[-3] <= shape[-1] else (shape[-3], shape[-2])
    return Sizes(fed, fed, fed)
