"""Every source of samples that a configuration can name. To add one: its module, then a line in each place below."""

from pathlib import Path

from tasks.data.annotated_files import AnnotatedFiles, AnnotatedSamples, annotated_paths, open_annotated_files
from tasks.data.annotations import Annotations
from tasks.data.arrays import Arrays, open_arrays
from tasks.data.custom import Custom, CustomSamples, custom_paths, open_custom
from tasks.data.digits import Digits, open_digits
from tasks.data.image_folder import ImageFolder, image_paths, open_image_folder
from tasks.data.operations import Sizes
from tasks.data.samples import Array, Samples

Source = Arrays | ImageFolder | Digits | AnnotatedFiles | Custom


def open_source(spec: Source) -> Samples:
    """Open a source of samples. Raises InputError for anything about it that cannot be used."""
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
    """The files and folders that a source reads."""
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


def annotations_of(samples: Samples) -> Annotations:
    """What is known about the samples; sources of arrays and images know classes at most."""
    if isinstance(samples, AnnotatedSamples | CustomSamples):
        return samples.annotations
    return Annotations(samples.names, labels=samples.labels)


def sizes_of(samples: Samples, index: int, array: Array) -> Sizes:
    """Sizes of the image that a loaded sample is. Other sources than files know only what the model reads."""
    if isinstance(samples, AnnotatedSamples):
        return samples.sizes[index]
    shape = (1, 1, *array.shape) if array.ndim < 3 else array.shape
    # Channels are few, whichever end they are at.
    fed = (shape[-2], shape[-1]) if shape[-3] <= shape[-1] else (shape[-3], shape[-2])
    return Sizes(fed, fed, fed)
