"""``path``: the name of an open file, by ``bpf_d_path`` where the kernel allows that, else from its dentries."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ir import Instr
from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.builtins.kernel import current_task_pointer, where_of
from pybpf.lang.front.annotations import kernel_shape
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.memory import Written, name_of
from pybpf.lang.values.pointers import Place, Pointer, Text
from pybpf.lang.values.reading import KERNEL, Where, probe_read
from pybpf.types import Array, array_of, char

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["LONGEST", "MAY_ASK", "Walk", "path"]

#: Functions whose trampolines may call bpf_d_path: btf_allowlist_d_path of kernel/trace/bpf_trace.c.
MAY_ASK = frozenset({
    "dentry_open", "filp_close", "security_file_open", "security_file_permission", "security_inode_getattr",
    "vfs_fallocate", "vfs_getattr", "vfs_truncate",
})  # fmt: skip
#: PATH_MAX: the longest path with its NUL
LONGEST = 4096
#: the longest name of a directory or file
_NAME_MAX = 255
#: Directories and mounts that are gone through: where the verifier takes loops, and where they are written out.
_STEPS, _STEPS_UNROLLED = 128, 24
#: about how many instructions the verifier follows for each
_PER_STEP = 400
_DELETED = b" (deleted)"


class _Path(Written):
    """The path of a ``struct path``, made where it is wanted: in memory of the CPU first, for it may be long."""

    is_clean = False

    def __init__(self, at: ast.AST, where: Where, most: int) -> None:
        self.at = at
        self.where = where
        self.kind = array_of(char, most)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Array) and kind.element is char):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; its type is char[N]")
        made = self._asked(gen) if self._may_ask(gen) else Walk(gen, self.where, self.at).text()
        Text(Where(made), None).store(gen, address, offset, kind, at)

    def _may_ask(self, gen: Gen) -> bool:
        """Whether the helper may be called here, and takes the pointer: a parameter of the probe, or part of one."""
        probe, direct = gen.probe, self.where.direct
        if not (self.where.typed and isinstance(direct, Instr) and direct.op == "load" and direct.args[0] is gen.ctx):
            return False
        if probe.kind == "iterator":  # from Linux 5.12 on; this helper is of 5.13
            return gen.target.has_helper(probe.type, "for_each_map_elem")
        allowed = probe.kind in ("fentry", "fexit", "fmod_ret") and probe.name in MAY_ASK
        return allowed and gen.target.has_helper(probe.type, "d_path")

    def _asked(self, gen: Gen) -> Operand:
        assert self.where.direct is not None
        slot = gen.b.slot(LONGEST, "path")
        raw.clear(gen, slot, 0, 1)  # where the helper fails
        pointer = raw.pointer(gen, self.where.direct, self.where.offset)
        gen.b.emit("call", pointer, slot, LONGEST, helper="d_path")
        return slot


class Walk:
    """What d_path() of the kernel does: from the file up to the root of the process, over mount points, writing the
    path from its end.

    :param where: of a ``struct path``.
    """

    def __init__(self, gen: Gen, where: Where, at: ast.AST) -> None:
        self.gen = gen
        self.at = at
        # what it begins with changes: to the verifier these must be numbers, no pointers whose types it knows
        start = Pointer(where._replace(direct=None, typed=False), kernel_shape(gen, "struct path", at))
        root = self._member(current_task_pointer(gen, at), "fs", "root")
        self.root = self._address(root, "mnt"), self._address(root, "dentry")
        self.mount = Choice(gen.b, self._address(start, "mnt"))
        self.dentry = Choice(gen.b, self._address(start, "dentry"))
        self.start = Choice(gen.b, LONGEST)
        self.slot = gen.b.slot(LONGEST + _NAME_MAX + 1 + len(_DELETED) + 1, "path")

    def _member(self, value: Val, *names: str) -> Val:
        for name in names:
            value = value.attr(self.gen, name, self.at)
        return value

    def _address(self, value: Val, *names: str) -> Operand:
        return self._member(value, *names).scalar(self.gen, self.at)

    def _at(self, address: Operand, kind: str) -> Pointer:
        return Pointer(Where(address), kernel_shape(self.gen, kind, self.at))

    def text(self) -> Operand:
        """The address of the path."""
        gen, b = self.gen, self.gen.b
        raw.clear(gen, self.slot, LONGEST, 1)
        self._mark_deleted()
        file, done = self.dentry.value, b.new_block("path")
        self._go_on(("eq", file, 0, done))
        if gen.target.has("bounded_loop"):
            gen.repeat(self.at, _STEPS, _PER_STEP, lambda number, leave: self._step(leave), "path()")
        else:
            for _ in range(_STEPS_UNROLLED):
                self._step(done)
        b.jump(done)
        b.seal(done)
        b.start(done)
        self._lead(file)
        return b.emit("add", self.slot, b.emit("and", self.start.value, LONGEST - 1))

    def _go_on(self, *ways: tuple[str, Operand, Operand, Block]) -> None:
        """Leave to a block where a comparison holds, else go on."""
        b = self.gen.b
        for cond, left, right, block in ways:
            more = b.new_block("more")
            b.branch(cond, left, right, block, more)
            b.seal(more)
            b.start(more)

    def _mark_deleted(self) -> None:
        """A file that is in its directory no more says so: d_unlinked() of the kernel."""
        b, gen = self.gen.b, self.gen
        file = self._at(self.dentry.value, "struct dentry")
        done = b.new_block("named")
        self._go_on(
            ("eq", self._address(file, "d_parent"), self.dentry.value, done),
            ("ne", self._address(file, "d_hash", "pprev"), 0, done),
        )
        raw.write(gen, self.slot, LONGEST, _DELETED + b"\0")
        b.jump(done)
        b.seal(done)
        b.start(done)

    def _step(self, done: Block) -> None:
        """One name, or one mount point; to ``done`` where there is nothing above."""
        b = self.gen.b
        mount, dentry = self.mount.value, self.dentry.value
        file, tree = self._at(dentry, "struct dentry"), self._at(mount, "struct vfsmount")
        named, top, above, checked, next_one = (
            b.new_block(each) for each in ("name", "top", "mounted", "checked", "up")
        )
        self._go_on(("ne", dentry, self.root[1], checked), ("eq", mount, self.root[0], done))
        b.jump(checked)
        b.seal(checked)
        b.start(checked)
        parent = self._address(file, "d_parent")
        b.branch("eq", dentry, self._address(tree, "mnt_root"), top, named)
        b.seal(top)
        b.start(top)
        holder = tree.where.moved(-self._offset_of_mnt())
        mounted = Pointer(holder, kernel_shape(self.gen, "struct mount", self.at))
        outer = self._address(mounted, "mnt_parent")
        b.branch("eq", outer, holder.pointer(self.gen), done, above)
        b.seal(above)
        b.start(above)
        self.dentry.set(self._address(mounted, "mnt_mountpoint"))
        self.mount.set(raw.pointer(self.gen, outer, self._offset_of_mnt()))
        b.jump(next_one)
        b.seal(named)
        b.start(named)
        self._prepend(file, done)
        self.dentry.set(parent)
        b.branch("eq", dentry, parent, done, next_one)  # the root of what is mounted nowhere, such as a pipe
        b.seal(next_one)
        b.start(next_one)

    def _offset_of_mnt(self) -> int:
        types = self.gen.target.types()
        assert types is not None  # kernel_shape() has refused
        return types.member(types.named("struct mount"), "mnt").offset

    def _prepend(self, file: Pointer, done: Block) -> None:
        """Write ``/NAME`` in front of what is there; to ``done`` where it does not fit."""
        b, gen = self.gen.b, self.gen
        name = self._address(file, "d_name", "name")
        length = b.emit("and", self._address(file, "d_name", "len"), _NAME_MAX)
        before = self.start.value
        self._go_on(("ule", before, length, done))
        # the mask changes nothing: it gives the verifier the same bounds after each step, so that its states agree
        first = b.emit("and", b.emit("sub", b.emit("sub", before, length), 1), 2 * LONGEST - 1)
        self.start.set(first)
        place = b.emit("add", self.slot, b.emit("and", first, LONGEST - 1))
        raw.store(gen, place, 0, 1, ord("/"))
        b.emit("call", b.emit("add", place, 1), length, name, helper=probe_read(gen, KERNEL))

    def _lead(self, file: Operand) -> None:
        """The root itself has no name: its path is a slash. That of no file is empty."""
        with when(self.gen.b, "eq", self.start.value, LONGEST, "nameless"):
            self.start.set(LONGEST - 1)
            lead = Choice(self.gen.b, ord("/"))
            with when(self.gen.b, "eq", file, 0, "nowhere"):
                lead.set(0)
            raw.store(self.gen, self.slot, LONGEST - 1, 1, lead.value)


def _path(gen: Gen, at: ast.AST, file: Val, most: Val) -> Val:
    size = Text.DEFAULT if isinstance(most, Const) and most.value is None else gen.const(most)
    if not isinstance(size, int) or not 0 < size <= LONGEST:
        gen.fail(at, f"the size of a path is a constant of 1 to {LONGEST} bytes, not {most.what}")
    if getattr(file, "use", None):
        file = file.use(gen, at)  # type: ignore[attr-defined]
    title = file.shape.title if isinstance(file, (Pointer, Place)) else ""
    if title == "struct file":
        file = file.attr(gen, "f_path", at)
    elif title != "struct path":
        gen.fail(at, f"path() takes a pointer to a struct file or a struct path, not {file.what}; "
                 "write path(cast(\"struct file\", x)) if it is one")  # fmt: skip
    return _Path(at, where_of(gen, file, at), size)


@builtin(_path)
def path(file: Any, most: int | None = None) -> str:
    """The path of a file of the kernel, as ``/proc/PID/fd`` has it, from the root directory of the running process.

    What is mounted nowhere, such as a pipe, has a slash and perhaps a name. Needs the types of the kernel (BTF).

    :param file: a pointer to a ``struct file``, or to a ``struct path`` or one inside of another struct.
    :param most: its longest length in bytes for a variable, by default 256; a field has its own.
    """
    meant_for_probes()
