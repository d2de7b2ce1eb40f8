"""Codes of the Itanium C++ ABI's mangling: builtin types, operators, abbreviations, special names."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BUILTINS", "D_BUILTINS", "OPERATORS", "QUALIFIERS", "STANDARD"]

BUILTINS: Mapping[str, str] = {
    "a": "signed char",
    "b": "bool",
    "c": "char",
    "d": "double",
    "e": "long double",
    "f": "float",
    "g": "__float128",
    "h": "unsigned char",
    "i": "int",
    "j": "unsigned int",
    "l": "long",
    "m": "unsigned long",
    "n": "__int128",
    "o": "unsigned __int128",
    "s": "short",
    "t": "unsigned short",
    "v": "void",
    "w": "wchar_t",
    "x": "long long",
    "y": "unsigned long long",
    "z": "...",
}
#: those that start with D
D_BUILTINS: Mapping[str, str] = {
    "a": "auto",
    "c": "decltype(auto)",
    "d": "decimal64",
    "e": "decimal128",
    "f": "decimal32",
    "h": "half",
    "i": "char32_t",
    "n": "decltype(nullptr)",
    "s": "char16_t",
    "u": "char8_t",
}
QUALIFIERS: Mapping[str, str] = {"r": "restrict", "V": "volatile", "K": "const"}
_CHARS = "<char, std::char_traits<char> >"
#: text, and the name that a constructor has
STANDARD: Mapping[str, tuple[str, str]] = {
    "a": ("std::allocator", "allocator"),
    "b": ("std::basic_string", "basic_string"),
    "s": ("std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "basic_string"),
    "i": (f"std::basic_istream{_CHARS}", "basic_istream"),
    "o": (f"std::basic_ostream{_CHARS}", "basic_ostream"),
    "d": (f"std::basic_iostream{_CHARS}", "basic_iostream"),
}
#: in place of a number of operands: an operator that has a form of its own in expressions
OWN_FORM = 0
#: code to (text, number of operands)
OPERATORS: Mapping[str, tuple[str, int]] = {
    "aN": ("&=", 2),
    "aS": ("=", 2),
    "aa": ("&&", 2),
    "ad": ("&", 1),
    "an": ("&", 2),
    "aw": ("co_await ", 1),
    "cl": ("()", OWN_FORM),
    "cm": (",", 2),
    "co": ("~", 1),
    "dV": ("/=", 2),
    "da": ("delete[] ", 1),
    "de": ("*", 1),
    "dl": ("delete ", 1),
    "ds": (".*", 2),
    "dv": ("/", 2),
    "eO": ("^=", 2),
    "eo": ("^", 2),
    "eq": ("==", 2),
    "ge": (">=", 2),
    "gt": (">", 2),
    "ix": ("[]", OWN_FORM),
    "lS": ("<<=", 2),
    "le": ("<=", 2),
    "ls": ("<<", 2),
    "lt": ("<", 2),
    "mI": ("-=", 2),
    "mL": ("*=", 2),
    "mi": ("-", 2),
    "ml": ("*", 2),
    "mm": ("--", OWN_FORM),
    "na": ("new[]", OWN_FORM),
    "ne": ("!=", 2),
    "ng": ("-", 1),
    "nt": ("!", 1),
    "nw": ("new", OWN_FORM),
    "oR": ("|=", 2),
    "oo": ("||", 2),
    "or": ("|", 2),
    "pL": ("+=", 2),
    "pl": ("+", 2),
    "pm": ("->*", 2),
    "pp": ("++", OWN_FORM),
    "ps": ("+", 1),
    "pt": ("->", OWN_FORM),
    "qu": ("?", OWN_FORM),
    "rM": ("%=", 2),
    "rS": (">>=", 2),
    "rm": ("%", 2),
    "rs": (">>", 2),
    "ss": ("<=>", 2),
    "tw": ("throw ", 1),
}
