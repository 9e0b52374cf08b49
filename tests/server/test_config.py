"""Settings: what is read, what is refused and how that is said."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from walnut.server.cli.showing import config
from walnut.server.config.document import default_document, in_force, write_default
from walnut.server.config.lines import lines_of
from walnut.server.config.load import FILE_BYTES, Settings, load
from walnut.server.config.model import LoggingSection, ServerSection
from walnut.server.config.types import settings_of
from walnut.server.errors import AlreadyThere, ConfigError, InvalidConfig
from walnut.server.subsystems import find, make, sections
from walnut.store.service import StoreSettings
from walnut.subsystem.model import Resources, Subsystem
from walnut.subsystem.units import Secret, read_bytes, read_seconds, say_bytes, say_seconds

CLASSES = find()
SECTIONS = sections(CLASSES)


def read(
    text: str = "", environ: dict[str, str] | None = None, flags: Any = None, *, at: Path
) -> Settings:
    path = at / "walnut.toml"
    path.write_text(text)
    return load(SECTIONS, list(CLASSES), file=path, environ=environ or {}, flags=flags)


def problems(text: str, at: Path, environ: dict[str, str] | None = None, flags: Any = None) -> str:
    with pytest.raises(InvalidConfig) as caught:
        read(text, environ, flags, at=at)
    return "\n".join(caught.value.problems).replace(f"{at}/", "")


def uncommented(document: str) -> str:
    """The default file with every key switched on: comments have a space after the #."""
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in {" ", ""} else line
        for line in document.splitlines()
    )


# -- the default file -------------------------------------------------------------------------------


def test_the_default_file_with_nothing_changed_says_nothing(tmp_path: Path) -> None:
    settings = read(default_document(SECTIONS, CLASSES), at=tmp_path)
    assert {entry.origin.kind for entry in settings.entries} == {"default"}
    assert settings.enabled == set(CLASSES)


def test_the_default_file_uncommented_says_every_setting_and_each_is_its_default(
    tmp_path: Path,
) -> None:
    settings = read(uncommented(default_document(SECTIONS, CLASSES)), at=tmp_path)
    assert {entry.origin.kind for entry in settings.entries} == {"file"}
    for name, kind in SECTIONS.items():
        assert settings.sections[name] == kind()
    assert {entry.section for entry in settings.entries} == set(SECTIONS)


def test_every_setting_and_every_section_is_explained() -> None:
    for name, kind in SECTIONS.items():
        assert kind.__doc__, name
        for setting in settings_of(kind):
            assert setting.about, f"{name}.{setting.name} has no words in its docstring"


def test_the_default_file_fits_a_hundred_columns() -> None:
    assert max(map(len, default_document(SECTIONS, CLASSES).splitlines())) <= 100


def test_init_does_not_write_over_a_file(tmp_path: Path) -> None:
    write_default(tmp_path / "walnut.toml", "# mine")
    with pytest.raises(AlreadyThere, match="is there already"):
        write_default(tmp_path / "walnut.toml", "# theirs")
    assert (tmp_path / "walnut.toml").read_text() == "# mine"


# -- who overrides whom -----------------------------------------------------------------------------


def test_flags_go_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    text = '[server]\nport = 1\nhost = "::1"\ndata = "d"\n'
    environ = {"WALNUT_SERVER__PORT": "2", "WALNUT_SERVER__HOST": "127.0.0.2"}
    settings = read(text, environ, {"server.port": ("--port", "3")}, at=tmp_path)
    server = settings.of(ServerSection)
    assert (server.port, server.host, server.data) == (3, "127.0.0.2", "d")
    origins = {
        entry.setting.name: entry.origin.place.replace(f"{tmp_path}/", "")
        for entry in settings.entries
        if entry.section == "server"
    }
    assert origins == {
        "port": "--port", "host": "WALNUT_SERVER__HOST", "data": "walnut.toml:4", "plaintext": "",
    }  # fmt: skip


def test_a_data_directory_of_the_file_lies_beside_it_and_one_of_a_flag_where_the_shell_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read('[server]\ndata = "d"\n', at=tmp_path / "etc").data == tmp_path / "etc" / "d"
    flag = {"server.data": ("--data", "d")}
    assert read("", flags=flag, at=tmp_path / "etc").data == tmp_path / "d"
    assert read("", at=tmp_path / "etc").data == tmp_path / "walnut-data"


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    read("", {"WALNUT_URL": "http://x", "WALNUT_TOKEN": "t", "walnut_a__b": "c"}, at=tmp_path)


def test_durations_sizes_truths_and_nothing_are_read_from_file_and_environment(
    tmp_path: Path,
) -> None:
    text = '[store]\nwindow = "1h30m"\nsegment_size = "1.5MiB"\ncheckpoint_size = 0\n'
    environ = {"WALNUT_STORE__WINDOW_SIZE": "none", "WALNUT_STORE__COMPRESSION": "on"}
    store = read(text, environ, at=tmp_path).of(StoreSettings)
    assert store == StoreSettings(
        window=5400.0, segment_size=3 << 19, checkpoint_size=0, window_size=None, compression=True
    )


# -- what is refused --------------------------------------------------------------------------------


def test_every_problem_is_told_with_its_line_its_value_and_what_is_allowed(tmp_path: Path) -> None:
    text = """\
port = 3

[server]
prot = 8420
port = 99_999
host = [
  1,
]

[sever]
[store]
window = "8 potatoes"
segment_size = 5
compression = 1

[tls]
key = "k.pem"

[logging]
level = "loud"
"""
    environ = {"WALNUT_LIMITS__BODY": "many", "WALNUT_STROE__WINDOW": "1d"}
    told = problems(text, tmp_path, environ, {"server.port": ("--port", "-1")})
    assert (
        told
        == """\
walnut.toml:1: port = 3: stands in no section; is it [server] port?
walnut.toml:4: server.prot = 8420: no key is called so (did you mean "port"?). [server] has data, host, port, plaintext
walnut.toml:5: server.port = 99999: it has to be a whole number from 0 to 65535
walnut.toml:6: server.host = [1]: it has to be a text
walnut.toml:10: no section is called [sever] (did you mean "server"?). There are server, tls, access, limits, logging, console, shutdown, store, topics, jobs, booking
walnut.toml:12: store.window = "8 potatoes": it has to be a duration, as "30s", "5m", "1h30m", "250ms" or "7d", or "none"
walnut.toml:13: store.segment_size = 5: it has to be a size, as "512B", "64KiB", "16MiB" or "2GiB"
walnut.toml:14: store.compression = 1: it has to be true or false
walnut.toml:20: logging.level = "loud": it has to be one of "debug", "info", "warning", "error"
WALNUT_LIMITS__BODY: limits.body = "many": it has to be a size, as "512B", "64KiB", "16MiB" or "2GiB"
WALNUT_STROE__WINDOW: no section is called [stroe] (did you mean "store"?). There are server, tls, access, limits, logging, console, shutdown, store, topics, jobs, booking
--port: server.port = "-1": it has to be a whole number from 0 to 65535
walnut.toml:17: [tls] certificate and key go together: name both or neither"""
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[server\n", "is not TOML: Expected ']'.*line 1"),
        (b"[server]\nport = 1\nport = 2\n", "is not TOML: .*line 3"),
        (b"[server]\n\xff", "walnut.toml:2: not UTF-8"),
        (b"#" * (FILE_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_by_its_line(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "walnut.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        load(SECTIONS, list(CLASSES), file=path, environ={})


def test_a_file_that_was_named_has_to_be_there_and_the_usual_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(SECTIONS, list(CLASSES), environ={}).file is None
    with pytest.raises(ConfigError, match="is not there: `walnut init` writes one"):
        load(SECTIONS, list(CLASSES), file=Path("other.toml"), environ={})
    with pytest.raises(ConfigError, match="can't be read \\(Is a directory\\)"):
        load(SECTIONS, list(CLASSES), file=tmp_path, environ={})


def test_a_subsystem_is_off_by_its_section_and_one_that_needs_it_is_refused(tmp_path: Path) -> None:
    off = read("[jobs]\nenabled = false\n[booking]\nenabled = false\n", at=tmp_path)
    assert off.enabled == set(CLASSES) - {"jobs", "booking"}
    assert "jobs" not in {one.name for one in make(CLASSES, off, Resources())}
    without = read("[store]\nenabled = false\n", at=tmp_path)
    with pytest.raises(InvalidConfig, match="can't be switched off"):
        make(CLASSES, without, Resources())

    class Needy(Subsystem[Any]):
        name = "needy"
        needs = ("jobs",)

    with pytest.raises(InvalidConfig, match=r"\[needy\] needs \[jobs\], which is switched off"):
        make(
            {"needy": Needy},
            msgspec.structs.replace(off, enabled=frozenset({"store", "needy"})),
            Resources(),
        )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"WALNUT_STORE__ENABLED": "false"}, "can't be switched off"),
        ({"WALNUT_SERVER__HOST": "0.0.0.0"}, "in clear text"),
        (
            {"WALNUT_TLS__CERTIFICATE": "nowhere.pem", "WALNUT_TLS__KEY": "nowhere.pem"},
            "nowhere.pem",
        ),
    ],
)
def test_the_check_finds_what_would_keep_a_server_from_starting(
    environ: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(config, ["check"], env=environ)
    assert refused.exit_code != 0
    assert words in str(refused.exception) + refused.output


# -- showing ----------------------------------------------------------------------------------------


class Vault(msgspec.Struct, frozen=True, kw_only=True):
    """A section with a secret."""

    password: Secret = ""
    names: tuple[str, ...] = ()


def test_secrets_are_neither_shown_nor_told_in_errors(tmp_path: Path) -> None:
    environ = {"WALNUT_VAULT__PASSWORD": "hunter2", "WALNUT_VAULT__NAMES": "a, b"}
    settings = load({**SECTIONS, "vault": Vault}, [], environ=environ)
    assert settings.of(Vault) == Vault(password="hunter2", names=("a", "b"))
    shown = [line for section, line, _ in in_force(settings) if section == "vault"]
    assert shown == ['password = "(set)"', 'names = ["a", "b"]']
    path = tmp_path / "walnut.toml"
    path.write_text("[vault]\npassword = 3141592\n")
    with pytest.raises(InvalidConfig, match=r"password = \(secret\)") as caught:
        load({"vault": Vault}, [], file=path, environ={})
    assert "3141592" not in str(caught.value)


def test_settings_in_force_are_a_file_that_gives_the_same_settings(tmp_path: Path) -> None:
    environ = {"WALNUT_STORE__WINDOW": "36h", "WALNUT_LOGGING__LEVEL": "debug"}
    settings = read("", environ, at=tmp_path)
    lines: list[str] = []
    for section, line, _ in in_force(settings):
        if f"[{section}]" not in lines:
            lines.append(f"[{section}]")
        lines.append(line)
    again = read("\n".join(lines), at=tmp_path)
    assert again.sections == settings.sections
    assert again.of(LoggingSection).level == "debug"


# -- the ground -------------------------------------------------------------------------------------


@given(st.integers(0, 2**60))
def test_a_size_that_is_written_is_read_as_the_same(number: int) -> None:
    assert read_bytes(say_bytes(number)) == number


@given(st.one_of(st.floats(0, 1e9, allow_subnormal=False), st.integers(0, 10**7).map(float)))
def test_a_duration_that_is_written_is_read_as_the_same(number: float) -> None:
    if "e" not in repr(number):
        assert read_seconds(say_seconds(number)) == number


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 potatoes", "-5s", "5s5", "1e3s", "\u0661s", "5S"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_seconds(text)


@pytest.mark.parametrize("text", ["", "5", "5MB", "-5B", "0.3B", "5 MiB MiB", "1e3B", "5mib"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_bytes(text)


def test_keys_are_found_on_their_lines_whatever_is_between_them() -> None:
    text = '\n# a comment\n[a]\nx = """\n[b]\ny = 1\n"""\n\n  # another\n  list = [\n1,\n\n2]\n[c.d]\nz = {\n}\n'
    text = text.replace("z = {\n}", "z = { w = 1 }")
    found = lines_of(text)
    assert found["a",] == 3
    assert found["a", "x"] == 4
    assert found["a", "list"] == 10
    assert found["c", "d"] == 14
    assert found["c", "d", "z", "w"] == 15
    assert lines_of("a.b = 1\n[[x]]\ny = 1\n[[x]]\ny = 2\n") == {
        ("a",): 1, ("a", "b"): 1, ("x",): 2, ("x", "y"): 3,
    }  # fmt: skip


def test_a_value_of_thousands_of_lines_costs_lines_and_no_time() -> None:
    ended = [f"{number}," for number in range(5000)]
    assert lines_of("\n".join(["x = [", *ended, "]", "y = 1"]))["y",] == 5003
    tricky = [f'"{number}]",' for number in range(5000)]
    assert lines_of("\n".join(["x = [", *tricky, "]", "y = 1"])) == {}


def test_the_documentation_has_every_setting_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    assert f"~~~toml\n{default_document(SECTIONS, CLASSES)}~~~\n" in page, (
        "paste what `walnut init` writes into docs/server.md"
    )
