"""What a setting may be: in words for errors, from what TOML, the environment or a flag gave, and back.

What must stay true: a setting that `as_toml` has written is read back as the same value.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import inspect as types

from walnut.subsystem.units import UNIT, read_bytes, read_seconds, say_bytes, say_seconds

NONE: Final = "none"
"""How no value is written for a setting that may have none; TOML has no word for it."""

_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"0", "false", "no", "off"}


class Setting(msgspec.Struct, frozen=True):
    """One key of a section.

    Attributes:
        name: of the key.
        hint: its annotation.
        type: the same as msgspec sees it, without `None` and `Metadata` around it.
        unit: "seconds", "bytes", "secret", or "" for a plain value.
        optional: it may be None.
        default: if nobody says.
        about: the words of its struct's docstring.
    """

    name: str
    hint: Any
    type: types.Type
    unit: str
    optional: bool
    default: Any
    about: str

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        words = _words(self.type, self.unit, self.hint)
        return f'{words}, or "{NONE}"' if self.optional else words

    def read(self, given: Any, *, text: bool) -> Any:
        """The value of what was given; `text`: by the environment or a flag, which know only texts.

        Raises ValueError."""
        if self.optional and given == NONE:
            return None
        if self.unit == "seconds" and isinstance(given, str):
            given = read_seconds(given)
        elif self.unit == "bytes" and isinstance(given, str):
            given = read_bytes(given)
        elif self.unit in {"seconds", "bytes"} and given != 0:
            raise ValueError(given)  # 30 of what?
        elif text and isinstance(given, str):
            given = _of_text(self.type, given)
        try:
            return msgspec.convert(given, self.hint)
        except msgspec.ValidationError as error:
            raise ValueError(given) from error

    def as_toml(self, value: Any) -> str:
        """As it is written in a file."""
        if value is None:
            return f'"{NONE}"'
        if self.unit == "seconds":
            return f'"{say_seconds(value)}"'
        if self.unit == "bytes":
            return f'"{say_bytes(value)}"'
        # JSON's texts, numbers, truths and arrays are TOML's.
        if isinstance(value, dict):
            pairs = (f"{json.dumps(key)} = {json.dumps(each)}" for key, each in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        return json.dumps(list(value) if isinstance(value, tuple) else value)


def settings_of(section: type[msgspec.Struct]) -> list[Setting]:
    """The keys of a section, in order."""
    about = _attributes(section)
    hints = get_type_hints(section, include_extras=True)
    found = []
    info = types.type_info(section)
    assert isinstance(info, types.StructType)
    for field in info.fields:
        kind, optional, unit = field.type, False, ""
        if isinstance(kind, types.UnionType):
            (kind,) = (one for one in kind.types if not isinstance(one, types.NoneType))
            optional = True
        if isinstance(kind, types.Metadata):
            unit = (kind.extra or {}).get(UNIT, "")
            kind = kind.type
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        assert default is not msgspec.NODEFAULT, f"{section.__name__}.{field.name} has no default"
        assert not isinstance(default, msgspec.Struct), "sections are flat"
        found.append(
            Setting(
                field.name,
                hints[field.name],
                kind,
                unit,
                optional,
                default,
                about.get(field.name, ""),
            )
        )
    return found


def summary(section: type[msgspec.Struct]) -> str:
    """What a section is for: the beginning of its docstring."""
    return " ".join(inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].split())


def _attributes(section: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring says of each attribute."""
    _, _, listed = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")
    about = {}
    for entry in re.split(r"\n(?=    \S)", listed.rstrip()):
        names, _, words = entry.strip().partition(":")
        for name in names.split(","):
            about[name.strip()] = " ".join(words.split())
    return about


def _words(kind: types.Type, unit: str, hint: Any) -> str:
    if unit == "seconds":
        return 'a duration, as "30s", "5m", "1h30m", "250ms" or "7d"'
    if unit == "bytes":
        return 'a size, as "512B", "64KiB", "16MiB" or "2GiB"'
    match kind:
        case types.BoolType():
            return "true or false"
        case types.IntType(ge=low, le=high):
            most = "" if high is None else f" to {high}"
            return "a whole number" + ("" if low is None else f" from {low}{most}")
        case types.FloatType():
            return "a number"
        case types.LiteralType():
            return "one of " + ", ".join(f'"{value}"' for value in get_args(hint))
        case types.ListType() | types.VarTupleType():
            return f"a list, each {_words(kind.item_type, '', get_args(hint)[0])}"
        case types.DictType():
            return 'a table of names and texts, as { name = "text" }'
    return "a text"


def _of_text(kind: types.Type, text: str) -> Any:
    match kind:
        case types.BoolType():
            if text.lower() in _TRUE:
                return True
            if text.lower() in _FALSE:
                return False
            raise ValueError(text)
        case types.IntType():
            return int(text)
        case types.FloatType():
            return float(text)
        case types.ListType() | types.VarTupleType():
            parts = [part.strip() for part in text.split(",")]
            return [_of_text(kind.item_type, part) for part in parts if part]
        case types.DictType():
            pairs = [part.partition("=") for part in text.split(",") if part.strip()]
            return {name.strip(): value.strip() for name, _, value in pairs}
    return text
