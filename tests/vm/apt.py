"""Debian's archive through apt-get with a state directory of its own: needs no root, changes nothing on the host."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .cache import VmError

__all__ = ["Apt"]

#: release of the guest's user space; the other suites only serve kernels
RELEASE = "bookworm"
#: archive -> suites
SUITES = {
    "Debian": (RELEASE, f"{RELEASE}-updates", "trixie-backports"),
    "Debian-Security": (f"{RELEASE}-security", "trixie-security", "bullseye-security"),
}
#: archive (the Label of its Release file) -> where it is, unless the host's own apt knows better
MIRRORS = {
    "Debian": "http://deb.debian.org/debian",
    "Debian-Security": "http://deb.debian.org/debian-security",
}
KEYRINGS = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("gpg", "pgp")
)
#: seconds for which package lists are fresh
FRESH = 24 * 3600
ATTEMPTS = 3
PAUSE = 10.0

_SOURCE = """\
Types: deb
URIs: {uri}
Suites: {suites}
Components: main
Architectures: {arch}
Signed-By: {keyring}
"""

_PREFERENCES = f"""\
Package: *
Pin: release n={RELEASE}*
Pin-Priority: 700
"""

# The host's own configuration (proxies!) is read before this file; its hooks are not ours to run.
_CONFIGURATION = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/etc/sources.list.d";
Dir::Etc::preferences "{root}/etc/preferences";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log "{root}";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
Debug::NoLocking "true";
"""


class Apt:
    """Package lists and downloads for one Debian architecture (``amd64``, ``arm64``), kept below ``cache``."""

    def __init__(self, cache: Path, arch: str) -> None:
        self.root = cache / f"apt-{arch}"
        self.arch = arch
        for tool, package in (("apt-get", "apt"), ("dpkg", "dpkg")):
            if not shutil.which(tool):
                raise VmError(f"{tool} not found: virtual machines are made from Debian's {package} packages")
        self._configure()

    def _configure(self) -> None:
        keyring = next(filter(Path.exists, KEYRINGS), None)
        if keyring is None:
            raise VmError("Debian's archive keys not found: apt-get install debian-archive-keyring")
        sources = self.root / "etc" / "sources.list.d"
        for path in (sources, self.root / "state/lists/partial", self.root / "cache/archives/partial"):
            path.mkdir(parents=True, exist_ok=True)
        mirrors = {**MIRRORS, **_host_mirrors()}
        (sources / "debian.sources").write_text(
            "\n".join(
                _SOURCE.format(uri=mirrors[label], suites=" ".join(suites), arch=self.arch, keyring=keyring)
                for label, suites in SUITES.items()
            )
        )
        (self.root / "status").touch()
        (self.root / "etc/preferences").write_text(_PREFERENCES)
        (self.root / "apt.conf").write_text(
            _CONFIGURATION.format(root=self.root, arch=self.arch, user=getpass.getuser())
        )

    def _run(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [tool, "-c", str(self.root / "apt.conf"), "-q", *arguments],
            cwd=cwd, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise VmError(f"{tool} {arguments[0]}: {(errors or ['exit ' + str(done.returncode)])[0]}")
        return done.stdout

    def _retry(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        for attempt in range(1, ATTEMPTS):
            try:
                return self._run(tool, *arguments, cwd=cwd)
            except VmError as error:
                print(f"{error}; trying again", file=sys.stderr)
                time.sleep(PAUSE * attempt)
        return self._run(tool, *arguments, cwd=cwd)

    def update(self) -> None:
        """Bring the package lists up to date, when they are older than a day; old lists serve without a network."""
        stamp = self.root / "updated"
        if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < FRESH:
            return
        try:
            self._retry("apt-get", "update")
        except VmError as error:
            if not self.names("python3"):
                raise VmError(f"cannot get Debian's package lists (is there a network?): {error}") from None
            print(f"some package lists are old or missing: {error}", file=sys.stderr)
            return
        stamp.touch()

    def names(self, prefix: str) -> list[str]:
        """Names of the packages that start with ``prefix``."""
        return self._run("apt-cache", "pkgnames", prefix).split()

    def closure(self, packages: tuple[str, ...]) -> dict[str, str]:
        """Packages with all that they depend on: name -> version."""
        plan = self._run("apt-get", "--simulate", "install", *packages)
        return dict(re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE))

    def unpack(self, packages: list[str], into: Path, scratch: Path) -> None:
        """Download packages and unpack them over each other, without running their scripts."""
        into.mkdir(exist_ok=True)
        scratch.mkdir()
        try:
            self._retry("apt-get", "download", *packages, cwd=scratch)
            for archive in sorted(scratch.glob("*.deb")):
                subprocess.run(["dpkg", "-x", str(archive), str(into)], check=True)
        finally:
            shutil.rmtree(scratch)


def _host_mirrors() -> dict[str, str]:
    """The mirrors of Debian that this machine is set to, if it is one of Debian's."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"], capture_output=True, text=True
    )
    pairs = [line.partition("|")[::2] for line in done.stdout.splitlines()]
    return {label: uri for label, uri in reversed(pairs) if label in MIRRORS}
