"""The rows that docs/topics.md shows are those that are written."""

import re
from pathlib import Path

from walnut.store.keys import encode
from walnut.store.schema import Codec
from walnut.topics.rows import Chunk

PAGE = Path(__file__).parents[2] / "docs" / "topics.md"


def test_the_chunks_that_are_documented_are_those_that_are_stored() -> None:
    blocks = [
        bytes.fromhex(block)
        for block in re.findall(r"(?:^    (?:[0-9a-f]{2} ?)+\n)+", PAGE.read_text(), re.MULTILINE)
    ]
    codec = Codec("topics.chunks", Chunk)
    plain = Chunk(3, 300, 10**18, [b"a", b"bc"])
    full = Chunk(3, 302, 10**18, [b"d"], [b"k"], [{"h": "v"}])
    assert blocks == [encode((3, 300)), codec.encode(plain)[0], codec.encode(full)[0]]
