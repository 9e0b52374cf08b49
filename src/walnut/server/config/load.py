"""From walnut.toml, the environment and flags to `Settings`; each overrides those before it.

    default ─▶ file ─▶ WALNUT_SECTION__KEY ─▶ --flag

What must stay true: nothing that was given is ignored. A key that nobody knows, or a value that is
not allowed, is a problem with its place; all of them are told at once.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from walnut.server.config.lines import lines_of
from walnut.server.config.model import DATA, FILE
from walnut.server.config.types import Setting, settings_of
from walnut.server.errors import ConfigError, InvalidConfig

Section = TypeVar("Section", bound=msgspec.Struct)

ENABLED: Final = "enabled"
"""The key that each subsystem's section has beside its own: switches it on or off."""

FILE_BYTES: Final = 64 << 10
"""The largest file: the default one has a tenth of this, and a person reads it."""

_VARIABLE: Final = re.compile(r"WALNUT_([A-Z0-9]+(?:_[A-Z0-9]+)*)__([A-Z0-9_]+)")

Flags = Mapping[str, tuple[str, Any]]
"""What the command line set: "section.key" to the flag's own name and the value."""


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: "default", or a file with its line, a variable, a flag."""

    kind: str
    place: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A setting in force."""

    section: str
    setting: Setting
    value: Any
    origin: Origin


class Settings(msgspec.Struct, frozen=True):
    """All settings in force.

    Attributes:
        file: that was read, if any.
        sections: by name, each of its section's type.
        entries: each setting with its origin, in the order of sections and fields.
        enabled: the subsystems that are switched on.
    """

    file: Path | None
    sections: dict[str, msgspec.Struct]
    entries: tuple[Entry, ...]
    enabled: frozenset[str]

    def of(self, kind: type[Section]) -> Section:
        """The section of this type."""
        for section in self.sections.values():
            if type(section) is kind:
                return section
        raise LookupError(kind)

    @property
    def data(self) -> Path:
        """The data directory; one that the file names lies beside it."""
        entry = next(
            one for one in self.entries if (one.section, one.setting.name) == ("server", "data")
        )
        if self.file is not None and entry.origin.kind == "file":
            path = self.file.parent / str(entry.value)
            return path.absolute()
        return Path(entry.value or DATA).absolute()


def taken_up(old: Settings, new: Settings, names: Collection[tuple[str, str]]) -> Settings:
    """The old settings, and the new ones of these names: what a running server has in force after it
    took up what it can."""
    entries = tuple(
        now if (now.section, now.setting.name) in names else was
        for was, now in zip(old.entries, new.entries, strict=True)
    )
    sections = {
        name: type(section)(
            **{
                entry.setting.name: entry.value
                for entry in entries
                if entry.section == name and entry.setting.name in section.__struct_fields__
            }
        )
        for name, section in old.sections.items()
    }
    return msgspec.structs.replace(old, entries=entries, sections=sections)


def load(
    sections: Mapping[str, type[msgspec.Struct]],
    subsystems: Sequence[str],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Flags | None = None,
) -> Settings:
    """The settings in force.

    Args:
        sections: every section there is. `subsystems`: which of them can be switched off.
        file: to read; None reads walnut.toml in the current directory if there is one.

    Raises:
        ConfigError: the file can't be read.
        InvalidConfig: settings that are unknown or not allowed.
    """
    path = file if file is not None else Path(FILE)
    document, lines = _read(path, needed=file is not None)
    known = {name: {one.name: one for one in settings_of(kind)} for name, kind in sections.items()}
    for name in subsystems:
        known[name] = {ENABLED: _ENABLED, **known[name]}
    given = _Given(known)
    given.take_file(path, document, lines)
    for variable in sorted(environ):
        if match := _VARIABLE.fullmatch(variable):
            section, key = (part.lower() for part in match.groups())
            given.take(section, key, environ[variable], Origin("env", variable), text=True)
    for dotted, (flag, value) in (flags or {}).items():
        section, _, key = dotted.partition(".")
        given.take(section, key, value, Origin("flag", flag), text=True)
    made = given.make(sections)
    if given.problems:
        raise InvalidConfig(tuple(given.problems))
    entries = tuple(
        Entry(
            section,
            setting,
            *given.values.get((section, key), (setting.default, Origin("default"))),
        )
        for section, keys in known.items()
        for key, setting in keys.items()
    )
    on = frozenset(
        one.section
        for one in entries
        if one.section in subsystems and one.setting is _ENABLED and one.value
    )
    return Settings(path if document is not None else None, made, entries, on)


class _Enabled(msgspec.Struct, frozen=True):
    """Attributes:
    enabled: run it at all.
    """

    enabled: bool = True


_ENABLED: Final = msgspec.structs.replace(
    settings_of(_Enabled)[0], about="run this subsystem at all."
)


class _Given:
    """What was given so far, and what is wrong with it."""

    def __init__(self, known: Mapping[str, Mapping[str, Setting]]) -> None:
        self.known = known
        self.values: dict[tuple[str, str], tuple[Any, Origin]] = {}
        self.problems: list[str] = []

    def take_file(
        self, path: Path, document: Mapping[str, Any] | None, lines: Callable[[], dict[Any, int]]
    ) -> None:
        """Take what the file says."""
        if not document:
            return
        lines_known = lines()

        def at(*key: str) -> str:
            line = lines_known.get(key) or lines_known.get(key[:1])
            return f"{path}:{line}" if line else str(path)

        for section, content in document.items():
            if not isinstance(content, dict):
                home = [name for name, keys in self.known.items() if section in keys]
                hint = f"; is it [{home[0]}] {section}?" if home else ""
                self.problems.append(
                    f"{at(section)}: {section} = {_shown(content)}: stands in no section{hint}"
                )
                continue
            if not content and section not in self.known:
                self._no_section(at(section), section)
            for key, value in content.items():
                self.take(section, key, value, Origin("file", at(section, key)), text=False)

    def take(self, section: str, key: str, value: Any, origin: Origin, *, text: bool) -> None:
        """Take one value."""
        keys = self.known.get(section)
        if keys is None:
            self._no_section(origin.place, section)
            return
        setting = keys.get(key)
        if setting is None:
            self.problems.append(
                f"{origin.place}: {section}.{key} = {_shown(value)}: no key is called so"
                f"{_nearest(key, keys)}. [{section}] has {', '.join(keys)}"
            )
            return
        try:
            read = setting.read(value, text=text)
        except ValueError:
            shown = "(secret)" if setting.unit == "secret" else _shown(value)
            self.problems.append(
                f"{origin.place}: {section}.{key} = {shown}: it has to be {setting.allowed}"
            )
            return
        self.values[section, key] = (read, origin)

    def make(self, sections: Mapping[str, type[msgspec.Struct]]) -> dict[str, msgspec.Struct]:
        """The sections; what one refuses as a whole is a problem at the last of its places."""
        made = {}
        for name, kind in sections.items():
            own = {
                key: value
                for (section, key), (value, _) in self.values.items()
                if section == name and key in kind.__struct_fields__
            }
            try:
                made[name] = kind(**own)
            except ValueError as error:
                places = [
                    origin.place
                    for (section, _), (_, origin) in self.values.items()
                    if section == name
                ]
                self.problems.append(f"{places[-1]}: [{name}] {error}")
        return made

    def _no_section(self, place: str, section: str) -> None:
        self.problems.append(
            f"{place}: no section is called [{section}]{_nearest(section, self.known)}. There are "
            f"{', '.join(self.known)}"
        )


def _read(
    path: Path, *, needed: bool
) -> tuple[dict[str, Any] | None, Callable[[], dict[Any, int]]]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except FileNotFoundError:
        if not needed:
            return None, dict
        raise ConfigError(f"{path} is not there: `walnut init` writes one") from None
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read ({error.strerror}): see its permissions"
        ) from error
    if len(data) > FILE_BYTES:
        raise ConfigError(f"{path} is larger than {FILE_BYTES} bytes: that is no walnut.toml")
    try:
        text = data.decode()
        return tomllib.loads(text), lambda: lines_of(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text, which TOML is") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _nearest(name: str, among: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, among, n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else f"{value!r}"
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else f"{text[:57]}..."
