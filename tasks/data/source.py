"""Every source of samples that a configuration can name. To add one: its module, then a line in each place below."""

from pathlib import Path

from tasks.data.arrays import Arrays, open_arrays
from tasks.data.digits import Digits, open_digits
from tasks.data.image_folder import ImageFolder, open_image_folder
from tasks.data.samples import Samples

Source = Arrays | ImageFolder | Digits


def open_source(spec: Source) -> Samples:
    """Open a source of samples. Raises InputError for anything about it that cannot be used."""
    match spec:
        case Arrays():
            return open_arrays(spec)
        case ImageFolder():
            return open_image_folder(spec)
        case Digits():
            return open_digits(spec)


def source_files(spec: Source) -> tuple[Path, ...]:
    """The files and folders that a source reads."""
    match spec:
        case Arrays():
            return (spec.path,)
        case ImageFolder():
            return (spec.path,) if spec.labels is None else (spec.path, spec.labels)
        case Digits():
            return ()
