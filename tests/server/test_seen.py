"""What a server tells of itself: /metrics, /v1/status, and TLS while it is exchanged."""

import datetime as dt
import ipaddress
import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client.parser import text_string_to_metric_families

from tests.server.load import Api, ask, make_table
from tests.server.process import Process, token_of
from walnut.server.config.model import TlsSection
from walnut.server.errors import TlsUnusable
from walnut.server.tls import context_of


def fetch(server: Process, token: str, path: str, accept: str = "") -> tuple[str, str]:
    headers = {"Authorization": f"Bearer {token}", "Accept": accept}
    request = urllib.request.Request(f"{server.url}{path}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode(), answer.headers["content-type"]


def test_metrics_are_what_prometheus_reads_and_count_what_happened(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        token = token_of(server.ready())
        api = Api(server.port, token)
        make_table(api)
        before = fetch(server, token, "/metrics")[0]
        for number in range(7):
            api.ask("PUT", f"/v1/tables/notes/rows/{number}", {"key": f"{number}", "value": 1})
        api.close()
        text, kind = fetch(server, token, "/metrics")
        assert kind.startswith("text/plain")
        read = {name: value for name, value in samples(text).items() if "{" not in name}
        grown = read["walnut_log_records_total"] - samples(before)["walnut_log_records_total"]
        assert grown == 7
        assert read["walnut_log_durable_lsn"] == read["walnut_store_applied_lsn"]
        assert read["walnut_log_sync_seconds_count"] > 0
        assert read["walnut_ready"] == 1
        assert read["process_resident_memory_bytes"] > 0
        for area in ("store", "log", "topics", "jobs", "http", "disk"):
            assert any(name.startswith(f"walnut_{area}_") for name in samples(text)), area
        open_text, open_kind = fetch(server, token, "/metrics", "application/openmetrics-text")
        assert open_kind.startswith("application/openmetrics-text")
        assert open_text.endswith("# EOF\n")
        # However many tables and topics there are, there are as many lines.
        for number in range(20):
            ask(server.port, token, "POST", "/v1/tables", {"name": f"t{number}"})
            ask(server.port, token, "POST", "/v1/topics", {"name": f"t{number}"})
        assert len(fetch(server, token, "/metrics")[0].splitlines()) == len(text.splitlines())


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + str(sample.labels or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_and_status_take_their_scopes_and_no_others(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        token = token_of(server.ready())
        for scope, may, may_not in (
            ("metrics:read", "/metrics", "/v1/status"), ("server:read", "/v1/status", "/v1/tokens"),
        ):  # fmt: skip
            wanted = {"name": scope.partition(":")[0], "scopes": [scope]}
            made = ask(server.port, token, "POST", "/v1/tokens", wanted)[1]["token"]
            assert fetch(server, made, may)
            assert ask(server.port, made, "GET", may_not)[0] == 403


def test_the_status_is_one_document_of_all_there_is(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        token = token_of(server.ready())
        status = ask(server.port, token, "GET", "/v1/status")[1]
        assert (status["state"], status["pid"]) == ("running", server.popen.pid)
        assert status["data"] == str(tmp_path / "data")
        assert status["disk"]["used"] > 0
        assert status["disk"]["free"] <= status["disk"]["total"]
        assert set(status["subsystems"]) == {"store", "topics", "booking", "jobs"}
        store = status["subsystems"]["store"]
        assert store["durable_lsn"] == store["applied_lsn"] > 0
        assert [slot["name"] for slot in store["slots"]] == ["tables"]


# -- TLS --------------------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> None:
    """A certificate for 127.0.0.1 that calls itself by a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def presented(port: int) -> tuple[str, str]:
    """Who a server says it is, and the version of TLS that was agreed on."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain) as secure,
    ):
        seen = secure.getpeercert(binary_form=True)
        assert seen is not None
        name = x509.load_der_x509_certificate(seen).subject.rfc4514_string()
        return name, secure.version() or ""


def test_a_certificate_is_exchanged_by_a_reload_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    arguments = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with Process(tmp_path / "data", *arguments) as server:
        server.ready()
        assert server.url.startswith("https://")
        assert presented(server.port) == ("CN=first", "TLSv1.3")
        certificate(tmp_path, "second")
        server.signal(signal.SIGHUP)
        server.wait_for("reload: done")
        assert presented(server.port)[0] == "CN=second"
        (tmp_path / "cert.pem").write_text("no certificate")
        server.signal(signal.SIGHUP)
        assert "no certificate with its private key" in server.wait_for("reload failed")["message"]
        assert presented(server.port)[0] == "CN=second"
        assert server.stop() == 0


def test_a_certificate_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other", "two")
    with pytest.raises(TlsUnusable, match="no certificate with its private key"):
        context_of(TlsSection(certificate="cert.pem", key="other/key.pem"), tmp_path)
    with pytest.raises(TlsUnusable, match="can't be read"):
        context_of(TlsSection(certificate="cert.pem", key="nowhere.pem"), tmp_path)
    assert context_of(TlsSection(), tmp_path) is None
