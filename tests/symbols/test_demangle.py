"""Demangled names are those of c++filt and rustfilt; names that are damaged or made to hurt come back unchanged."""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.errors import NotFoundError
from pybpf.symbols import ElfFile, find_binary
from pybpf.symbols.demangle import demangle

pytestmark = pytest.mark.pure

HERE = Path(__file__).parent
#: what GNU's c++filt 2.40 writes for names of GCC 12, Clang 14, and made by hand
CPP = [line.split(" ", 1) for line in (HERE / "demangled.txt").read_text("utf-8").splitlines()]

#: where we differ from c++filt 2.40 on purpose: it does not know these, or loses a part of them
BETTER = [
    # a conversion operator that is a template, to a type that is one
    ("_ZN1AcvSt6vectorIT_SaIS1_EEIiEEv", "A::operator std::vector<int, std::allocator<int> ><int>()"),
    ("_ZGR1x_", "reference temporary #0 for x"),
    ("_Z1fDB8_", "f(signed _BitInt(8))"),
    ("_Z1fDU8_", "f(unsigned _BitInt(8))"),
    ("_Z1fTs1A", "f(A)"),
    # no comma for an empty pack
    ("_Z1pIJEEv3TupIJDpPT_EEDpRS1_St17integral_constantImXsZT_EE",
     "void p<>(Tup<>, std::integral_constant<unsigned long, 0>)"),
    ("_Z1fIiEDTtlT_Li1EEES0_", "decltype (int{1}) f<int>(int)"),
    ("_Z1fIiEDTgsnw_T_EES0_", "decltype (::new int) f<int>(int)"),
    ("_Z1fIiEDTnxfp_ET_", "decltype (noexcept({parm#1})) f<int>(int)"),
    # C++20, as newer compilers mangle it
    ("_Z1fIiEvT_Q4trueIS0_E", "void f<int>(int) requires true<int>"),
    ("_ZN1A1fIiQLb1EEEvT_", "void A::f<int>(int)"),
    ("_ZZ1gvENKUlTyT_QLb1EE_clIiEEDaS_",
     "auto g()::{lambda<typename $T0>($T0) requires true#1}::operator()<int>(int) const"),
    ("_Z1fITk1CiEvv", "void f<int>()"),
    ("_Z1fITpTnDaJLi1ELi2EEEvv", "void f<1, 2>()"),
    ("_Z1fITtTyE3FooEvv", "void f<Foo>()"),
    ("_Z1fDk1C", "f(C auto)"),
    ("_Z1fDK1C", "f(C decltype(auto))"),
    ("_Z1fIiEvu20__remove_reference_tIT_E", "void f<int>(__remove_reference_t<int>)"),
    # lengths are in bytes
    ("_Z5n\u00f6\u00f6v", "n\u00f6\u00f6()"),
]  # fmt: skip

#: from the rules of RFC 2603
RUST = [
    ("_RC7mycrate", "mycrate"),
    ("_RCs_7mycrate", "mycrate"),
    ("_RNvC7mycrate3foo", "mycrate::foo"),
    ("_RNvNtC7mycrate3bar3foo", "mycrate::bar::foo"),
    ("_RNvCsdyGUClYiB0h_7mycrate3foo", "mycrate::foo"),
    ("_RNvC7mycrate3_123", "mycrate::123"),
    ("_RNvC7mycrate5___foo", "mycrate::__foo"),
    ("_RNCNvC7mycrate3foo0B3_", "mycrate::foo::{closure#0}"),
    ("_RNCNvC7mycrate3foos_0B3_", "mycrate::foo::{closure#1}"),
    ("_RNCNvC7mycrate3foos_3cloB3_", "mycrate::foo::{closure:clo#1}"),
    ("_RNSNvC7mycrate3foo6vtableB3_", "mycrate::foo::{shim:vtable#0}"),
    ("_RNvMC7mycrateNtB2_3Foo3bar", "<mycrate::Foo>::bar"),
    ("_RNvMs_C7mycrateNtB4_3Foo3bar", "<mycrate::Foo>::bar"),
    ("_RNvMC7mycrateINtB2_3VecmE3new", "<mycrate::Vec<u32>>::new"),
    ("_RNvXC7mycrateNtB2_3FooNtB2_5Trait3bar", "<mycrate::Foo as mycrate::Trait>::bar"),
    ("_RNvXs_C7mycratemNtB4_5Trait3bar", "<u32 as mycrate::Trait>::bar"),
    ("_RNvYNtC7mycrate3FooNtB4_5Trait3bar", "<mycrate::Foo as mycrate::Trait>::bar"),
    ("_RINvC7mycrate3foomEC5other", "mycrate::foo::<u32>"),
    ("_RINvC7mycrate3fooE", "mycrate::foo::<>"),
    ("_RINvC7mycrate3fooINtB2_3VecmEE", "mycrate::foo::<mycrate::Vec<u32>>"),
    ("_RINvC7mycrate3fooKj5_Kin5_E", "mycrate::foo::<5, -5>"),
    ("_RINvC7mycrate3fooKb1_Kb0_E", "mycrate::foo::<true, false>"),
    ("_RINvC7mycrate3fooKc41_Kca_Kc27_E", r"mycrate::foo::<'A', '\n', '\''>"),
    ("_RINvC7mycrate3fooKpE", "mycrate::foo::<_>"),
    ("_RINvC7mycrate3fooKoffffffffffffffffffff_E", "mycrate::foo::<0xffffffffffffffffffff>"),
    ("_RINvC7mycrate3fooRmQmPmOmE", "mycrate::foo::<&u32, &mut u32, *const u32, *mut u32>"),
    ("_RINvC7mycrate3fooRL_mL_E", "mycrate::foo::<&u32, '_>"),
    ("_RINvC7mycrate3fooSmAmj4_E", "mycrate::foo::<[u32], [u32; 4]>"),
    ("_RINvC7mycrate3fooTETmETmhEE", "mycrate::foo::<(), (u32,), (u32, u8)>"),
    ("_RINvC7mycrate3foouzepvabcdfE", "mycrate::foo::<(), !, str, _, ..., i8, bool, char, f64, f32>"),
    ("_RINvC7mycrate3foohijlmnostxyE", "mycrate::foo::<u8, isize, usize, i32, u32, i128, u128, i16, u16, i64, u64>"),
    ("_RINvC7mycrate3fooFEuFmhElE", "mycrate::foo::<fn(), fn(u32, u8) -> i32>"),
    ("_RINvC7mycrate3fooFUKCmEuE", 'mycrate::foo::<unsafe extern "C" fn(u32)>'),
    ("_RINvC7mycrate3fooFK12aapcs_unwindEuE", 'mycrate::foo::<extern "aapcs-unwind" fn()>'),
    ("_RINvC7mycrate3fooFG_RL0_mERL0_mE", "mycrate::foo::<for<'a> fn(&'a u32) -> &'a u32>"),
    ("_RINvC7mycrate3fooFG0_RL1_mRL0_hEuE", "mycrate::foo::<for<'a, 'b> fn(&'a u32, &'b u8)>"),
    ("_RINvC7mycrate3fooDNtB2_5TraitNtB2_4SendEL_E", "mycrate::foo::<dyn mycrate::Trait + mycrate::Send>"),
    ("_RINvC7mycrate3fooDNtB2_5Traitp4ItemhEL_E", "mycrate::foo::<dyn mycrate::Trait<Item = u8>>"),
    ("_RINvC7mycrate3fooDINtB2_5TraitmEp4ItemhEL_E", "mycrate::foo::<dyn mycrate::Trait<u32, Item = u8>>"),
    ("_RINvC7mycrate3fooDG_INtB2_5TraitRL0_mEEL_E", "mycrate::foo::<dyn for<'a> mycrate::Trait<&'a u32>>"),
    ("_RNvC7mycrateu8gdel_5qa", "mycrate::gödel"),
    ("_RNvC7mycrateu30____7hkackfecea1cbdathfdh9hlq6y", "mycrate::საჭმელად_გემრიელი_სადილი"),
    ("_RNvC7mycrate3foo.llvm.1234567890", "mycrate::foo"),
    ("_RNvC7mycrate3foo.cold", "mycrate::foo [clone .cold]"),
    # constants of any type came later, with the same brackets as in the source
    ("_RINvC7mycrate3fooKRe616263_Ke616263_E", 'mycrate::foo::<"abc", {*"abc"}>'),
    ("_RINvC7mycrate3fooKRAm1_m2_EKTm1_EE", "mycrate::foo::<{&[1, 2]}, {(1,)}>"),
    ("_RINvC7mycrate3fooKVUNtB2_3FooE", "mycrate::foo::<{mycrate::Foo}>"),
    ("_RINvC7mycrate3fooKVTNtB2_3Foom1_m2_EE", "mycrate::foo::<{mycrate::Foo(1, 2)}>"),
    ("_RINvC7mycrate3fooKVSNtB2_3Foo1am1_1bm2_EE", "mycrate::foo::<{mycrate::Foo { a: 1, b: 2 }}>"),
    # legacy
    ("_ZN3foo3bar17h0123456789abcdefE", "foo::bar"),
    ("_ZN3foo17h05af221e174051e9E.llvm.A5310EB9", "foo"),
    ("_ZN3foo17h05af221e174051e9E.cold", "foo [clone .cold]"),
    ("_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$17h05af221e174051e9E",
     "core::ptr::drop_in_place<alloc::string::String>"),
    ("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE",
     "<Test + 'static as foo::Bar<Test>>::bar"),
    ("_ZN11_$RF$$BP$$C3foo17h05af221e174051e9E", "&*$C::foo"),
]  # fmt: skip

UNCHANGED = [
    "", "_", "_Z", "_R", "__Z", "main", "_Zfoo", "_Z3fo", "_ZN", "_ZNE", "_ZN3foo", "_ZN3fooEQ", "_Z1fS_", "_Z1fT_",
    "_Z1fS9_", "_Z1fSQQQQQQQQ_", "_ZNC1Ev", "_ZN1Acv", "_Z1fIi", "_Z1fDq", "_ZTX1A", "_Z1fA_", "_Z1fFvv", "_Z1fILiE",
    "_Z1fIXplLi1EEEvv", "_Z1fIXzzLi1EEEvv", "_Z99999999999999999999f", "_Z3f\0", "_Z3fo\udc80\ud800", "_Z1f\u00b2",
    "_Z1fv.", "_RNv", "_RN", "_RB_", "_RNvB_3foo", "_RNvC7mycrate", "_RINvC1a1bm", "_RNvC1a1bx", "_RNvC1au3_\u00e9",
    "_RNvC1au4999_", "_RINvC1a1bKb2_E", "_RINvC1a1bKcd800_E", "_RINvC1a1bKRe6_E", "_RINvC1a1bKReff_E",
    "_RINvC1a1bRL0_mE", "_RINvC1a1bFGzzzzzz_EuE", "_RNvCszzzzzzzzzzzzzzz_1a1b", "_RINvC1a1bKVXE",
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [*CPP, *BETTER, *RUST])
def test_table(name: str, text: str) -> None:
    assert demangle(name) == text


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_not_understood_is_unchanged(name: str) -> None:
    assert demangle(name) == name


def _mangled(library: str) -> list[str]:
    try:
        path = find_binary(library).path
    except NotFoundError:
        pytest.skip(f"there is no {library}")
    with ElfFile(path) as elf:
        return sorted({symbol.name for symbol in elf.functions("_Z*")})


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="there is no c++filt")
@pytest.mark.parametrize("library", ["libstdc++.so.6", "libLLVM-14.so.1"])
def test_names_of_a_library_are_those_of_cxxfilt(library: str) -> None:
    names = _mangled(library)
    names = random.Random(library).sample(names, min(len(names), 300 if "PYBPF_VM" in os.environ else 4000))
    known = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    pairs = list(zip(names, known.stdout.splitlines()))
    assert len(pairs) == len(names) > 100
    different = [(name, text, demangle(name)) for name, text in pairs if demangle(name) != text]
    assert len(different) <= len(names) / 200, different[:5]


def _number(value: int, alphabet: str) -> str:
    """``_`` is 0, ``0_`` is 1: as both manglings count."""
    digits, value = "", value - 1
    while value >= 0 and not (digits and value == 0):
        digits, value = alphabet[value % len(alphabet)] + digits, value // len(alphabet)
    return f"{digits}_"


def _seen(number: int) -> str:
    return "S" + _number(number, string.digits + string.ascii_uppercase)


def _nested_backs(count: int) -> str:
    """Rust types, of which each is twice the one before."""
    name, last = "_RINvC1a1b", "m"
    for _ in range(count):
        start = len(name) - 2
        name += f"T{last * 2}E"
        last = "B" + _number(start, string.digits + string.ascii_lowercase + string.ascii_uppercase)
    return name + "E"


HOSTILE = {
    "pack of nothing declared": "_Z1fITpaTDaJLi1ELi2EEEvv",
    "deep types": "_Z1f" + "P" * 60000 + "i",
    "deep expressions": "_Z1fIX" + "ng" * 30000 + "Li1EEEvv",
    "deep functions": "_Z" + "Z" * 30000 + "1f",
    "deep scopes": "_ZN" + "1a" * 30000 + "Ev",
    "deep lambdas": "_Z1f" + "Ul" * 30000,
    "deep packs": "_Z1fI" + "J" * 30000 + "i",
    "deep conversions": "_ZN1Acv" * 9000,
    "doubling": "_Z1f1A1BIS_S_E" + "".join(f"S0_I{_seen(i)}{_seen(i)}E" for i in range(2, 200)),
    "a chain of references": "_Z1f1A" + "".join(f"P{_seen(i)}" for i in range(9000)),
    "long names again and again": "_Z1f999" + "a" * 999 + "S_" * 30000,
    "expansions of a long pack": "_Z1fIJ" + "i" * 9000 + "EEvDpT_" + "DpPT_" * 5000,
    "a pack in a pack": "_Z1fIJ" + "i" * 999 + "EJ" + "i" * 999 + "EEvDp3FooIJT_DpT0_EE",
    "digits": "_Z" + "9" * 60000,
    "a sequence number": "_Z1fS" + "0" * 60000 + "_",
    "rust: deep paths": "_R" + "Nv" * 30000 + "C1a",
    "rust: deep types": "_RINvC1a1b" + "R" * 60000 + "mE",
    "rust: doubling": _nested_backs(60),
    "rust: itself": "_RNvB_1a",
    "rust: lifetimes": "_RINvC1a1bFGzzzzz_EuE",
    "rust: a hash": "_RNvCs" + "z" * 60000 + "_1a1b",
    "rust: a number": "_RINvC1a1bKj" + "f" * 60000 + "_E",
    "rust: punycode": "_RNvC1au60000" + "9" * 60000,
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_given_up(name: str) -> None:
    # none of them would end without a bound, or end within memory
    assert demangle(name) == name


def test_the_doubling_names_are_right_but_for_their_size() -> None:
    assert (
        demangle(_nested_backs(3))
        == "a::b::<(u32, u32), ((u32, u32), (u32, u32)), (" + ", ".join(["((u32, u32), (u32, u32))"] * 2) + ")>"
    )
    name = "_Z1f1A1BIS_S_E" + "".join(f"S0_I{_seen(i)}{_seen(i)}E" for i in range(2, 4))
    assert demangle(name) == "f(A, B<A, A>, B<B<A, A>, B<A, A> >, B<B<B<A, A>, B<A, A> >, B<B<A, A>, B<A, A> > >)"


def test_very_long_names_are_not_looked_at() -> None:
    name = f"_Z70000{'a' * 70000}"
    assert demangle(name) == name
    assert demangle(f"_Z60000{'a' * 60000}") == "a" * 60000


NAMES = [name for name, _ in (*CPP, *BETTER, *RUST)]
#: where, how many characters go, and what comes: $ stands for a piece of another name
EDITS = st.tuples(
    st.integers(0, 10**6), st.integers(0, 4), st.sampled_from(string.ascii_letters + string.digits + "_.$")
)


@given(st.sampled_from(NAMES), st.lists(EDITS, min_size=1, max_size=6), st.sampled_from(NAMES))
def test_damaged_names_never_raise(name: str, edits: list[tuple[int, int, str]], other: str) -> None:
    for place, size, text in edits:
        at = place % (len(name) + 1)
        name = name[:at] + (other[at : at + 9] if text == "$" else text) + name[at + size :]
    assert isinstance(demangle(name), str)


@given(st.sampled_from(["_Z", "_ZN", "_Z1f", "_Z1fI", "_Z1fIX", "_R", "_RINvC1a1b"]), st.text(max_size=60))
def test_any_text_never_raises(start: str, text: str) -> None:
    assert isinstance(demangle(start + text), str)


@given(st.text(alphabet="SITJEPKFDpvilN_01A3foZXL", max_size=120))
def test_what_looks_like_a_name_never_raises(text: str) -> None:
    assert isinstance(demangle(f"_Z1f{text}"), str)
    assert isinstance(demangle(f"_ZN{text}"), str)
