"""Where the files of a data set are: in a folder of the user's, or fetched by pooch."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from plastic_envs.errors import FileUsageError, MissingExtraError, MissingFileError

FOLDER_VARIABLE = "PLASTIC_ENVS_DATA"


@dataclass(frozen=True)
class Download:
    """Where a file can be had: an address and its checksum as pooch writes it, and, in a zip, the file's name there."""

    url: str
    checksum: str
    member: str | None = None


def named_folder(folder: str | Path | None) -> Path | None:
    """The folder that the user names, as an argument or else by the environment variable PLASTIC_ENVS_DATA.

    Raises:
        UsageError: it is no folder.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    if given and not Path(given).is_dir():
        raise FileUsageError(f"{'folder' if folder else FOLDER_VARIABLE} must be a folder, not {str(given)!r}")
    return Path(given).resolve() if given else None


def locate(source: str, file: str, folder: Path | None, download: Download) -> Path:
    """A file of a data set, compressed (.gz) or not.

    It is looked for in the folder's subfolder that is named as the data set, then in the folder itself, and else
    fetched into pooch's cache. The downloads have not been tried against the real hosts.

    Raises:
        UsageError: it is nowhere and cannot be fetched.
    """
    for place in (folder / source, folder) if folder else ():
        for name in (f"{file}.gz", file):
            if (place / name).is_file():
                return place / name
    return fetch(source, f"{file}.gz", download, folder)


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
