"""Runs one claim and leaves claim.json, figures.csv and picture.png (and .svg) in a folder."""

import contextlib
import csv
import inspect
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from evolution.claims.finding import ClaimSettings, Finding
from evolution.claims.table import CLAIMS
from evolution.claims.trainings import KeptCurves
from evolution.runs.resumable import ResumableFolder
from plastic_envs.utils.checks import shown
from plastic_envs.utils.errors import MissingExtraError, WrongTypeError
from plastic_envs.utils.reading import read_json
from plastic_envs.utils.writing import make_folder, remove, write_atomically

FORMAT = 1
PARTS = "parts"
RESULTS = ("figures.csv", "picture.svg", "picture.png", "claim.json")


def claim(
    number: str,
    *,
    full: bool = False,
    seed: int = 0,
    jobs: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Finding:
    """Run a claim of `CLAIMS` and write what came of it; long ones print a line on standard error for each part.

    Args:
        number: its name in `CLAIMS`, or `module:Name` of your own.
        full: larger, or the paper's sizes, rather than within minutes.
        seed: root of all random streams; equal settings give equal figures.
        jobs: processes side by side, of use to claims that train agents of several kinds.
        out: the folder; by default runs/claim-<number>.
        resume: go on with a claim in `out` that was broken off: agents that it has trained are not trained again.
        overwrite: replace the claim in `out`.

    Raises:
        UsageError: there is no such claim, or `out` holds something else, another claim or other settings to be
            resumed, must not be overwritten, or is in use by another process.
        MissingExtraError: matplotlib is absent.
    """
    import torch

    from plastic_envs.utils.precision import in_float32

    folder = default_folder(number) if out is None else Path(out)
    target = ResumableFolder(folder, "claim", resume=resume, overwrite=overwrite)
    settings = ClaimSettings(full, seed, jobs, folder / PARTS)
    run = CLAIMS.load(number)
    if not _takes_settings(run):
        raise WrongTypeError(f"claim {shown(number)} is no function from evolution.ClaimSettings to evolution.Finding")
    _check_matplotlib()
    with target.held() as goes_on:
        (_go_on if goes_on else _begin)(target, {"number": number, "full": full, "seed": seed})
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same figures on any number of cores
        try:
            finding = in_float32(run)(settings)
            if not isinstance(finding, Finding):
                raise WrongTypeError(f"claim {number!r} gave a {type(finding).__name__}, not an evolution.Finding")
            write(folder, number, settings, finding)
        finally:
            torch.set_num_threads(threads)
            _drop_empty_parts(folder)
    return finding


def _takes_settings(run: object) -> bool:
    """Whether it is a function of one argument, which is not called to find out: the name may be that of anything."""
    if not inspect.isfunction(run) or run.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return False
    kinds = inspect.Parameter
    needed = [each for each in inspect.signature(run).parameters.values() if each.default is kinds.empty]
    return len(needed) == 1 and needed[0].kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)


def default_folder(number: str) -> Path:
    """Where a claim goes that is given no folder."""
    return Path("runs") / f"claim-{number.replace(':', '.')}"


def _go_on(target: ResumableFolder, asked: dict[str, Any]) -> None:
    """Refuse another claim than the one that was begun here; of one that was being replaced, remove the results."""
    target.check_settings(read_json(target.path / PARTS / "settings.json"), asked)
    if (target.path / RESULTS[-1]).is_file() and _settings_of(target.path) != asked:
        _remove_results(target.path)


def _begin(target: ResumableFolder, asked: dict[str, Any]) -> None:
    """Put a claim in the place of what is here; its number and settings are written first: by them it is known.

    At every moment there is the claim that was, finished or to be gone on with, or the new one to be gone on with.
    """
    parts = target.path / PARTS
    make_folder(parts)
    for part in filter(Path.is_dir, parts.iterdir()):
        KeptCurves(parts).forget(part)
    write_atomically(parts / "settings.json", (json.dumps(asked) + "\n").encode())
    _remove_results(target.path)


def _settings_of(folder: Path) -> dict[str, Any]:
    """What the finished claim in a folder was asked for."""
    told = read_json(folder / RESULTS[-1])
    settings = told.get("settings")
    return {"number": told.get("number"), **(settings if isinstance(settings, dict) else {})}


def _remove_results(folder: Path) -> None:
    """Remove what a finished claim has left: first that by which it is finished."""
    for name in reversed(RESULTS):
        remove(folder / name)


def _drop_empty_parts(folder: Path) -> None:
    """Remove the folder of parts if there are none beside the settings: all is there, or nothing is."""
    parts, results = folder / PARTS, [(folder / name).exists() for name in RESULTS]
    with contextlib.suppress(OSError):  # it is for tidiness alone
        if [item.name for item in parts.iterdir()] == ["settings.json"] and (results[-1] or not any(results)):
            shutil.rmtree(parts)


def write(folder: Path, number: str, settings: ClaimSettings, finding: Finding) -> None:
    """Write the three files; claim.json last, as by it the claim is finished."""
    from evolution.reports.plots.curves import figure
    from evolution.runs.run_folder import versions

    told = {
        "format": FORMAT,
        "number": number,
        "claim": finding.claim,
        "source": finding.source,
        "holds": finding.holds,
        "verdict": finding.verdict,
        "settings": {"full": settings.full, "seed": settings.seed},
        "versions": versions(),
    }
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, finding.figures[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(finding.figures)
    write_atomically(folder / "figures.csv", table.getvalue().encode())
    with figure(folder / "picture.png", *finding.size) as canvas:
        finding.draw(canvas)
    write_atomically(folder / "claim.json", (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())


def _check_matplotlib() -> None:
    """Before the work rather than after it."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("a claim's picture", "plots") from None
