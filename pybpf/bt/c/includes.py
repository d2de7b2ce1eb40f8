"""``#include``: which file a name means."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pybpf.errors import NotFoundError

__all__ = ["Includes"]

#: Folders of the kernel's and of C's own headers: what they define is known without them.
_KNOWN = ("linux/", "net/", "uapi/", "asm/", "asm-generic/", "sys/", "bits/", "netinet/", "arpa/", "trace/", "bpf/")
#: C's own headers without a folder
_OF_C = frozenset({
    "assert.h", "ctype.h", "dirent.h", "elf.h", "errno.h", "fcntl.h", "float.h", "inttypes.h", "limits.h", "math.h",
    "netdb.h", "poll.h", "pthread.h", "pwd.h", "sched.h", "signal.h", "stdalign.h", "stdarg.h", "stdbool.h", "stddef.h",
    "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h", "time.h", "unistd.h", "wchar.h", "vmlinux.h",
})  # fmt: skip


class Includes:
    """Where files of C are looked for.

    :param directories: as ``-I`` names them, first one first.
    :param first: names of files that are read before the script's own text.
    """

    def __init__(self, directories: Sequence[str] = (), first: Sequence[str] = ()) -> None:
        self.directories = tuple(directories)
        self.first = tuple(first)

    def find(self, name: str, quoted: bool, includer: str) -> str | None:
        """The path of a file; None: it is one of the kernel's or of C's, or may be.

        :param quoted: it stands in ``"``: looked for beside the file that includes it, too.
        :param includer: that file.
        :raises NotFoundError: a file that stands in ``"`` is not there.
        """
        beside = [os.path.dirname(includer)] if quoted else []
        for directory in (*beside, *self.directories):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                return path
        if quoted and not name.startswith(_KNOWN) and name not in _OF_C:
            raise NotFoundError(f"there is no file {name!r} here; -I DIRECTORY says where else to look")
        return None
