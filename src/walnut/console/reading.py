"""Reading for pages in threads of their own, so that no visitor holds up the server's event loop.

What must stay true: visitors together never use more threads than this, and one that reads much delays
other visitors rather than writers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4
"""Reads at once. Each is a page's worth, of a few milliseconds."""

_pool: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="walnut-console")


async def reading(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that reads, and may take its time. Raises what it raises."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool, partial(function, *args, **kwargs))
