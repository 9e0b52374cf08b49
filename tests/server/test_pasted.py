"""Lines of documentation that are pasted into a shell work, against a server that was just started."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.server.process import Process, token_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "server.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_curl_lines_of_a_page_work_in_their_order(page: Path, tmp_path: Path) -> None:
    text = page.read_text().replace("\\\n", "")
    lines = re.findall(r"^curl .+127\.0\.0\.1:8420.+$", text, re.MULTILINE)
    assert len(lines) >= 2
    with Process(tmp_path / "data") as server:
        env = {**os.environ, "WALNUT_TOKEN": token_of(server.ready())}
        for line in lines:
            pasted = line.replace("http://127.0.0.1:8420", server.url).replace(
                "curl ", "curl -sS ", 1
            )
            done = subprocess.run(
                pasted, check=True, shell=True, env=env, capture_output=True, text=True
            )
            answer = json.loads(done.stdout)
            assert not str(answer.get("type", "")).startswith("urn:walnut:problem:"), answer
