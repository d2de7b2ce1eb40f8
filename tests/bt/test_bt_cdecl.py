"""C definitions: layouts as a C compiler has them, constants, conditions, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pybpf.bt.c.declarations import Definitions, read_c, read_script_c
from pybpf.bt.c.includes import Includes
from pybpf.bt.c.types import BASIC, CArray, CCompound, CEnum, CFunction, CPointer, size_of
from pybpf.bt.syntax.parse import parse
from pybpf.errors import CompileError

pytestmark = pytest.mark.pure

COMPILER = shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to compare with")


def _struct(found: Definitions, name: str) -> CCompound:
    kind = found.types[name]
    assert isinstance(kind, CCompound)
    return kind


def _offsets(kind: CCompound) -> dict[str, int]:
    return {member.name: member.offset for member in kind.flat()}


def test_members_of_every_form() -> None:
    found = read_c(
        """
        #define N 4 /* a comment */
        #define M (N * 2 + 1)
        typedef struct first {
            char c;
            int a[M], b;                      // two at once
            struct { long l; union { int q; char z; }; };
            struct first *next;
            int (*fn)(int, char *);
            int (*table[3])(void);
            unsigned long long int w;
            const volatile unsigned short s;
            char name[];
        } first_t;
        """
    )
    kind = _struct(found, "struct first")
    assert found.types["first_t"] is kind
    assert _offsets(kind) == {
        "c": 0, "a": 4, "b": 40, "l": 48, "q": 56, "z": 56, "next": 64, "fn": 72, "table": 80, "w": 104,
        "s": 112, "name": 114,
    }  # fmt: skip
    assert (kind.size, kind.align) == (120, 8)
    following = kind.member("next")
    assert following is not None and following.type == CPointer(kind)
    table = kind.member("table")
    assert table is not None and table.type == CArray(CPointer(CFunction()), 3)
    assert kind.member("missing") is None


def test_bit_fields() -> None:
    kind = _struct(read_c("struct b { unsigned a:3, b:7; int :0; char c:2; long d:40; };"), "struct b")
    assert [(each.name, each.bit_offset, each.bit_size) for each in kind.members] == [
        ("a", 0, 3),
        ("b", 3, 7),
        ("c", 32, 2),
        ("d", 64, 40),
    ]
    assert kind.size == 16


def test_integers_have_the_names_of_the_kernel_and_of_scripts() -> None:
    found = read_c("struct s { __u32 a; u8 b; uint16_t c; int64 d; size_t e; bool f; pid_t g; };")
    sizes = [size_of(each.type) for each in _struct(found, "struct s").members]
    assert sizes == [4, 1, 2, 8, 8, 1, 4]


def test_enumerations_count_on() -> None:
    found = read_c("enum e { A, B = 5, C, D = B << 2, E = -1 }; enum { F = 1 << 3 }; enum big { G = 0x1ffffffff };")
    assert found.enumerators == {"A": 0, "B": 5, "C": 6, "D": 20, "E": -1, "F": 8, "G": 0x1FFFFFFFF}
    small, big = found.types["enum e"], found.types["enum big"]
    assert isinstance(small, CEnum) and (small.size, small.signed) == (4, True)
    assert isinstance(big, CEnum) and (big.size, big.signed) == (8, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("0x10 | 1", 17),
        ("010", 8),
        ("~0U", 0xFFFFFFFF),
        ("~0", -1),
        ("1UL << 40", 1 << 40),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1 ? 2 : 3", 2),
        ("'A'", 65),
        ("'\\n'", 10),
        ("(unsigned char)300", 44),
        ("(short)-1", -1),
        ("sizeof(int) * 2", 8),
        ("sizeof(struct known)", 16),
        ("OTHER + 1", 3),
        ("-1 < 0u", 0),
        ("5 > 3 && !0", 1),
        ("0xffffffff", 0xFFFFFFFF),
        ("LOOP", None),
        ('"text"', None),
        ("1 / 0", None),
        ("1 << 99", None),
        ("f(1)", None),
        ("", None),
        ("1 2", None),
        ("pid @x $y", None),
    ],
)
def test_value_of_a_macro(text: str, value: int | None) -> None:
    found = read_c(
        "struct known { long a; int b; };\n#define OTHER 2\n#define LOOP LOOP2\n#define LOOP2 LOOP\n"
        f"#define IT {text}\n"
    )
    assert found.macros["IT"] == text
    assert found.value("IT") == value
    assert found.value("NOT_DEFINED") is None


def test_conditions() -> None:
    found = read_c(
        """
        #ifndef BTF
        #include <linux/sched.h>
        struct no { junk! };
        #elif 1
        #  define CHOSEN 1
        #else
        #error never
        #endif
        #if defined(CHOSEN) && CHOSEN == 1 && !defined NOT && MISSING == 0
        #define BOTH \\
            12
        #endif
        #if 0
        # if 1
        #define NEVER 1
        # else
        #define NEVER 1
        # endif
        #endif
        #undef CHOSEN
        """,
        macros={"BTF": "1"},
    )
    assert found.macros == {"BTF": "1", "BOTH": "12"}
    assert found.notes == []


def test_own_files_are_included(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "one.h").write_text('#pragma once\n#include "deep/two.h"\n#define ONE 1\nstruct a { int x; };\n')
    (tmp_path / "deep" / "two.h").write_text("#ifndef TWO\n#define TWO 2\nenum e { E = WIDTH };\n#endif\n")
    (tmp_path / "more" / "three.h").write_text("#include <linux/types.h>\nstruct c { struct a in[TWO]; };\n")
    includes = Includes([str(tmp_path / "more")], [str(tmp_path / "deep" / "two.h")])
    text = '#define WIDTH 9\n#include "one.h"\n#include "one.h"\n#include <three.h>\nstruct d { struct c in; };\n'
    with pytest.raises(CompileError, match="'WIDTH'"):  # what the command line names comes before the script
        read_c(text, str(tmp_path / "x.bt"), includes=includes)
    found = read_c(text, str(tmp_path / "x.bt"), includes=Includes([str(tmp_path / "more")]))
    assert size_of(found.types["struct d"]) == 8
    assert found.enumerators == {"E": 9}
    assert found.macros == {"WIDTH": "9", "TWO": "2", "ONE": "1"}
    assert [note.message for note in found.notes] == [
        "#include <linux/types.h> is left out: types come from the kernel's own information"
    ]


@pytest.mark.parametrize("text, file, line, says", [
    ("#define A 1\n#include \"wrong.h\"\n", "wrong.h", 2, "there is no type 'wrong'"),
    ("#include \"absent.h\"\n", "x.bt", 1, "there is no file 'absent.h' here; -I DIRECTORY says where else to look"),
    ("#include absent.h\n", "x.bt", 1, '#include needs a file, as in #include "mine.h"'),
    ("\n#include \"self.h\"\n", "self.h", 1, "includes itself, or one of the files that include it"),
    ("#include \"open.h\"\n#endif\n", "open.h", 1, "this condition has no end"),
])  # fmt: skip
def test_errors_of_includes_point_into_the_file(tmp_path: Path, text: str, file: str, line: int, says: str) -> None:
    (tmp_path / "wrong.h").write_text("// a comment\nwrong x;\n")
    (tmp_path / "self.h").write_text('#include "self.h"\n')
    (tmp_path / "open.h").write_text("#if A\n")
    with pytest.raises(CompileError) as caught:
        read_c(text, str(tmp_path / "x.bt"))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / file), line)
    assert says in caught.value.message


def test_includes_and_macros_with_parameters_are_noted() -> None:
    found = read_c("#include <linux/fs.h>\n#define F(x) x\n#pragma once\n")
    assert [note.message for note in found.notes] == [
        "#include <linux/fs.h> is left out: types come from the kernel's own information",
        "#define F(...) has parameters: it cannot be used",
        "this directive is left out",
    ]


def test_types_that_are_not_defined_are_looked_up() -> None:
    known = {"struct path": CCompound("struct", "path", (), 16, 8, True), "fmode_t": BASIC["unsigned int"]}
    found = read_c("struct file { fmode_t mode; struct path path; };", lookup=known.get)
    assert _offsets(_struct(found, "struct file")) == {"mode": 0, "path": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct a { int x; ", "this '{' has no '}'; write one where the members end"),
        ("struct a { strict b *c; };", "there is no type 'strict'; did you mean struct?"),
        ("struct a { uint23_t c; };", "there is no type 'uint23_t'; did you mean uint32_t, uint8_t or uint64_t?"),
        ("struct a { struct b c; };", "the members of struct b are not known here; define it before this"),
        ("struct a { int x; int x; };", "the struct has two members 'x'; give one another name"),
        ("struct a { void x; };", "a member cannot be of this type; write a pointer to it"),
        ("struct a { int f(void); };", "a member cannot be of this type; write a pointer to it"),
        ("struct a { int x:33; };", "a bit-field of this type cannot have 33 bits"),
        ("struct a { int *x:3; };", "a bit-field is of an integer type"),
        ("struct a { int x[-1]; };", "an array cannot have less than 0 items"),
        ("struct a { int x[N]; };", "'N' is not a constant; #define it or write a number"),
        ("struct a { char x[1 << 30][8]; };", "the array is larger than 2 GiB"),
        ("struct a { int x int y }; ", "';' must stand here after a member; found 'int'"),
        ("struct a { int; int 5; };", "the name of a member must stand here"),
        ("struct a { }; struct a { };", "struct a is defined already; give this one another name"),
        ("struct a { int x; } __attribute__((aligned(3)));", "an alignment is a power of 2"),
        ("enum a { X, X };", "'X' has a value already; give this one another name"),
        ("enum a { X Y };", "',' must stand here after a value; found 'Y'"),
        ("enum missing *x;", "there is no enum missing; define it before this"),
        ("int x;", "variables cannot be defined in C text; write a struct, union, enum, typedef or #define"),
        ("int f(void) { }", "functions cannot be defined in C text; write a macro: macro name(x) { }"),
        ("long short x;", "'long short' is not a type of C"),
        ("#if 1\n", "this condition has no end; write #endif where it ends"),
        ("#endif\n", "there is no #if before this"),
        ("#else\n", "there is no #if before this"),
        ("#error no such kernel\n", "#error: no such kernel"),
        ("#defin A 1\n", "there is no directive #defin; write #define, #if, #ifdef or #include"),
        ("#define\n", "#define needs a name, as in #define LIMIT 10"),
        ("#define F(x) x\nstruct a { int x[F(2)]; };",
     "'F' is a macro with parameters, which cannot be used; write its text instead"),
        ("struct a { int x; `", "'`' has no meaning in C definitions; remove it"),
    ],
)  # fmt: skip
def test_wrong_definitions(text: str, message: str) -> None:
    with pytest.raises(CompileError) as info:
        read_c(text)
    assert info.value.message == message
    assert info.value.line >= 1


def test_deep_and_growing_text_is_refused() -> None:
    doubling = "#define A0 x x\n" + "".join(f"#define A{i} A{i - 1} A{i - 1}\n" for i in range(1, 60))
    for text in (
        doubling + "struct s { int a[A59]; };",
        "struct s { int a[" + "(" * 5000 + "1" + ")" * 5000 + "]; };",
        "struct s {" * 5000,
        "struct s { int " + "(" * 5000 + "*x" + ")" * 5000 + "; };",
        "struct s { int " + "*" * 5000 + "x; };",
        "struct s { int x" + "[1]" * 5000 + "; };",
        "struct s { int x[" + "(int)" * 5000 + "1]; };",
    ):
        with pytest.raises(CompileError):
            read_c(text)
    assert read_c(doubling).value("A59") is None


def test_errors_of_a_script_point_into_it() -> None:
    script = parse(
        "#!/usr/bin/pybpf bt\n\n#define N 3\nstruct a { int x[N]; }\nstruct b { nothing y; };\nBEGIN { }\n", "a.bt"
    )
    with pytest.raises(CompileError) as info:
        read_script_c(script)
    error = info.value
    assert (error.file, error.line, error.column, error.end_column) == ("a.bt", 5, 12, 19)
    assert error.text == "struct b { nothing y; };"


# Against a C compiler

_SCALARS = (
    "char",
    "unsigned char",
    "short",
    "int",
    "unsigned",
    "long",
    "unsigned long long",
    "void *",
    "double",
    "_Bool",
)
_scalar = st.sampled_from(_SCALARS)
_integer = st.sampled_from([("char", 8), ("unsigned short", 16), ("int", 32), ("unsigned", 32), ("long", 64)])


@st.composite
def _body(draw: st.DrawFn, depth: int = 0) -> tuple[str, list[tuple[str, bool]]]:
    """Members of a struct as text, and their names with whether they are bit-fields."""
    text = []
    names: list[tuple[str, bool]] = []
    for _ in range(draw(st.integers(1, 6))):
        name = f"m{draw(st.integers(0, 10**9))}_{len(names)}_{depth}"
        form = draw(st.sampled_from(["scalar", "array", "bits", "bits", "gap", "inner", "function", "aligned"]))
        if form == "bits":
            kind, most = draw(_integer)
            text.append(f"{kind} {name}:{draw(st.integers(1, most))};")
            names.append((name, True))
        elif form == "gap":
            text.append(f"{draw(_integer)[0]} :0;")
        elif form == "inner" and depth < 2:
            body, inner = draw(_body(depth + 1))
            keyword = draw(st.sampled_from(["struct", "union"]))
            suffix = draw(st.sampled_from(["", " __attribute__((packed))"]))
            if draw(st.booleans()):
                text.append(f"{keyword} {{ {body} }}{suffix};")
                names += [each for each in inner if each not in names]
            else:
                text.append(f"{keyword} {{ {body} }}{suffix} {name}[2];")
                names.append((name, False))
        elif form == "function":
            text.append(f"int (*{name})(int, void *);")
            names.append((name, False))
        else:
            dimensions = draw(st.sampled_from(["[3]", "[2][2]"])) if form == "array" else ""
            attribute = f" __attribute__((aligned({draw(st.sampled_from([2, 8, 16]))})))" if form == "aligned" else ""
            text.append(f"{draw(_scalar)} {name}{dimensions}{attribute};")
            names.append((name, False))
    return " ".join(text), names


@st.composite
def _definition(draw: st.DrawFn) -> tuple[str, list[tuple[str, bool]]]:
    body, names = draw(_body())
    keyword = draw(st.sampled_from(["struct", "struct", "union"]))
    suffix = draw(st.sampled_from(["", "", " __attribute__((packed))", " __attribute__((aligned(32)))"]))
    return f"{keyword} NAME {{ {body} }}{suffix};", names


@needs_compiler
@settings(max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(_definition(), min_size=12, max_size=12))
def test_layouts_are_the_compilers(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, list[tuple[str, bool]]]]
) -> None:
    folder = tmp_path_factory.mktemp("layouts")
    definitions = [(text.replace("NAME", f"s{i}"), names) for i, (text, names) in enumerate(found)]
    ours = _ours(definitions)
    assert ours == _compiled(folder, definitions)


def _ours(definitions: list[tuple[str, list[tuple[str, bool]]]]) -> list[str]:
    lines = []
    for i, (text, names) in enumerate(definitions):
        keyword = text.split()[0]
        kind = _struct(read_c(text), f"{keyword} s{i}")
        lines.append(f"{i} {kind.size} {kind.align}")
        for name, is_bits in names:
            member = kind.member(name)
            assert member is not None
            first = member.bit_offset if is_bits else 8 * member.offset
            lines.append(f"{i} {name} {first}")
    return lines


def _compiled(folder: Path, definitions: list[tuple[str, list[tuple[str, bool]]]]) -> list[str]:
    """What the compiler's own program says: of a bit-field, the first bit that changes when all its bits are set."""
    code = ["#include <stdio.h>", "#include <stddef.h>", "#include <string.h>"]
    code.append(
        "static int first(const unsigned char *p, int n) "
        "{ for (int i = 0; i < 8 * n; i++) if (p[i / 8] >> i % 8 & 1) return i; return -1; }"
    )
    code += [text for text, _ in definitions]
    code.append("int main(void) {")
    for i, (text, names) in enumerate(definitions):
        kind = f"{text.split()[0]} s{i}"
        code.append(f'printf("{i} %zu %zu\\n", sizeof({kind}), _Alignof({kind}));')
        for name, is_bits in names:
            if is_bits:
                code.append(f"{{ {kind} v; memset(&v, 0, sizeof v); v.{name} = -1;")
                code.append(f'printf("{i} {name} %d\\n", first((void *)&v, sizeof v)); }}')
            else:
                code.append(f'printf("{i} {name} %zu\\n", 8 * offsetof({kind}, {name}));')
    code.append("}")
    source = folder / "layouts.c"
    source.write_text("\n".join(code))
    assert COMPILER is not None
    program = folder / "layouts"
    subprocess.run([COMPILER, "-w", "-O0", "-o", program, source], check=True, capture_output=True, timeout=300)
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
