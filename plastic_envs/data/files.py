"""Where the files of a data set are: in a folder of the user's, under a usual name, or fetched by pooch."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plastic_envs.utils.errors import FileUsageError, MissingExtraError, MissingFileError

FOLDER_VARIABLE = "PLASTIC_ENVS_DATA"
INSIDE = ("raw", "gzip", "python")
"""Where in the folder of a data set those who unpack its archives put its files."""
SYSTEM = {
    "__macosx", "__pycache__", "@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
    "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "icon\r", "cvs",
}  # fmt: skip
"""What systems put beside a user's files, in lower case; what begins with a dot is theirs too."""


@dataclass(frozen=True)
class Download:
    """Where a file can be had: an address and its checksum as pooch writes it, and, in a zip, the file's name there."""

    url: str
    checksum: str
    member: str | None = None


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden or was made by a system rather than the user."""
    return name.startswith(".") or name.lower() in SYSTEM


def listing(folder: Path) -> list[Path]:
    """The files and folders in a folder, in order, without those that `is_system` knows.

    Raises:
        FileUsageError: it cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not is_system(entry.name))
    except OSError as error:
        raise FileUsageError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def is_folder(path: Path) -> bool:
    """Whether there is a folder; not where Python raises an error, as for a name that is too long or closed to us."""
    try:
        return path.is_dir()
    except OSError:
        return False


def named_folder(folder: str | Path | None) -> Path | None:
    """The folder that the user names, as an argument or else by the environment variable PLASTIC_ENVS_DATA.

    Raises:
        UsageError: it is no folder.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    if not given:
        return None
    path = Path(os.path.expanduser(given))
    if not is_folder(path):
        raise MissingFileError(f"{'folder' if folder else FOLDER_VARIABLE} must be a folder, not {str(given)!r}")
    return path.resolve()


def find(folder: Path | None, names: Sequence[str], files: Sequence[str]) -> Path | None:
    """The first of some files or folders that is there, with small or capital letters, dashes or dots in its name.

    It is looked for in the subfolders that have one of the `names` of the data set, then in the folder itself, and in
    what is `INSIDE` each of these.

    Raises:
        FileUsageError: a folder cannot be read.
    """
    if folder is None:
        return None
    homes = [*_named(folder, names), folder]
    for place in [place for home in homes for place in (home, *_named(home, INSIDE))]:
        entries = listing(place)
        for file in files:
            for entry in entries:
                if _plain(entry.name) == _plain(file):
                    return entry
    return None


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    wanted = {_plain(name) for name in names}
    return [entry for entry in listing(folder) if _plain(entry.name) in wanted and is_folder(entry)]


def _plain(name: str) -> str:
    """A name in lower case without signs: FashionMNIST is fashion-mnist, train-images.idx3-ubyte has one dash more."""
    return "".join(letter for letter in name.lower() if letter not in "-_. ")


def locate(source: str, file: str, folder: Path | None, download: Download) -> Path:
    """A file of a data set, compressed (.gz) or not, by `find`, or else fetched into pooch's cache.

    The downloads have not been tried against the real hosts.

    Raises:
        UsageError: it is nowhere and cannot be fetched.
    """
    wanted = (f"{file}.gz", file)
    found = find(folder, (source, "emnist") if source.startswith("emnist") else (source,), wanted)
    if found is not None and is_folder(found):  # as some archives are unpacked
        found = find(found, (), wanted)
    return fetch(source, f"{file}.gz", download, folder) if found is None else found


def fetch(source: str, file: str, download: Download, folder: Path | None) -> Path:
    """A file that is not in the user's folder, from pooch's cache or its address.

    Raises:
        UsageError: it cannot be fetched.
    """
    try:
        return _fetch(source, file, download)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        put = f"put it into {folder / source}" if folder else f"set {FOLDER_VARIABLE} to a folder and put it there"
        raise MissingFileError(f"data set {source!r} needs the file {file}: {put} ({error})") from None


def _fetch(source: str, name: str, download: Download) -> Path:
    """Download a file, or find it where it was downloaded to."""
    try:
        import pooch
    except ImportError:
        raise MissingExtraError("its download", "download") from None
    cache = pooch.os_cache("plastic-envs") / source
    if download.member is None:
        return Path(pooch.retrieve(download.url, download.checksum, name, cache, progressbar=True))
    # One archive for several data sets.
    unzip = pooch.Unzip(members=[download.member], extract_dir=cache)
    archive = Path(download.url).name
    pooch.retrieve(download.url, download.checksum, archive, cache.parent, processor=unzip, progressbar=True)
    return Path(cache / download.member)
