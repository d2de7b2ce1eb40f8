"""Every exception that pybpf raises on purpose: a few classes, one base."""

from __future__ import annotations

import errno as _errno
import os

__all__ = [
    "AsmError",
    "BpfError",
    "BtfError",
    "ClosedError",
    "CompileError",
    "DeclarationError",
    "KernelError",
    "NotFoundError",
    "PackError",
    "PermissionDenied",
    "UnsupportedError",
    "VerifierError",
    "errno_text",
]

#: Errno values that the kernel returns but that user space's tables do not know (include/linux/errno.h).
_KERNEL_ERRNO = {524: ("ENOTSUPP", "operation is not supported by this kernel")}


def errno_text(number: int) -> str:
    """``13`` -> ``"EACCES: Permission denied"``; also for the kernel's internal numbers, such as 524."""
    name, text = _KERNEL_ERRNO.get(number) or (_errno.errorcode.get(number, f"errno {number}"), os.strerror(number))
    return f"{name}: {text}"


class BpfError(Exception):
    """Base of every exception that pybpf raises on purpose."""


class KernelError(BpfError, OSError):
    """A system call failed.

    :ivar action: what was being done, for example ``"create hash map 'counts'"``.
    :ivar errno: the kernel's answer, a positive number.
    :ivar cause: what was found to be the reason, or ``""``.
    :ivar advice: what the user can do, or ``""``.
    """

    def __init__(self, action: str, errno: int, cause: str = "", advice: str = "") -> None:
        self.action = action
        self.cause = cause
        self.advice = advice
        super().__init__(errno, errno_text(errno))
        self.errno: int = errno
        self.strerror: str = errno_text(errno)

    def __str__(self) -> str:
        text = f"cannot {self.action}: {self.cause or self.strerror}"
        if self.cause:
            text += f" ({self.strerror.partition(':')[0]})"
        return f"{text}; {self.advice}" if self.advice else text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.action, self.errno, self.cause, self.advice)


class PermissionDenied(KernelError):
    """The kernel has what was asked for but does not let this process use it; ``cause`` names what is missing."""


class UnsupportedError(KernelError):
    """This kernel (or its configuration, or this architecture) does not have what was asked for."""


class VerifierError(KernelError):
    """The kernel's verifier refused a program.

    :ivar log: the verifier's whole log.
    :ivar insn: the failing instruction as the verifier prints it, or ``""``.
    :ivar insn_index: its index, or ``None``.
    :ivar source: ``"file.py:12: text"`` of the source line when line info was loaded, or ``""``.
    """

    def __init__(
        self,
        action: str,
        errno: int,
        cause: str = "",
        advice: str = "",
        *,
        log: str = "",
        insn: str = "",
        insn_index: int | None = None,
        source: str = "",
    ) -> None:
        super().__init__(action, errno, cause, advice)
        self.log = log
        self.insn = insn
        self.insn_index = insn_index
        self.source = source

    def __str__(self) -> str:
        lines = [f"cannot {self.action}: {self.cause or self.strerror}"]
        if self.insn:
            where = "" if self.insn_index is None else f"{self.insn_index}: "
            lines.append(f"  at instruction {where}{self.insn}")
        if self.source:
            lines.append(f"  from {self.source}")
        if self.advice:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        state = {"log": self.log, "insn": self.insn, "insn_index": self.insn_index, "source": self.source}
        return type(self), (self.action, self.errno, self.cause, self.advice), state


class CompileError(BpfError):
    """Source that cannot be compiled: where, what is wrong, and what to write instead.

    :ivar message: one sentence or two.
    :ivar file: the source file.
    :ivar line: counted from 1; 0 when there is no line to point at.
    :ivar column: of the first character, counted from 1.
    :ivar end_column: of the character after the last one.
    :ivar text: the source line.
    """

    def __init__(
        self, message: str, file: str = "", line: int = 0, column: int = 0, end_column: int = 0, text: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.end_column = end_column
        self.text = text

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.message}" if self.file else self.message
        lines = [f"{self.file}:{self.line}:{self.column}: {self.message}"]
        if self.text:
            # a tab stays a tab, so that the caret stands below what it means
            lead = "".join("\t" if each == "\t" else " " for each in self.text[: self.column - 1])
            lines += [f"    {self.text}", f"    {lead}{'^' * max(1, self.end_column - self.column)}"]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.file, self.line, self.column, self.end_column, self.text)


class AsmError(BpfError, ValueError):
    """An instruction or assembler text that cannot be encoded or decoded; the message names the instruction."""


class BtfError(BpfError, ValueError):
    """Type information (BTF) that is malformed, or a type or member that it does not have."""


class PackError(BpfError, ValueError):
    """A Python value that does not fit the declared type of a key, a value or a field."""


class DeclarationError(BpfError, TypeError):
    """What keys, values, fields or events are declared as is no type of pybpf, or not one that can be there."""


class NotFoundError(BpfError, LookupError):
    """A probe, symbol, library, process, program, map or link that does not exist; says what was looked for."""


class ClosedError(BpfError, ValueError):
    """An object was used after it was closed."""
