"""Every error that `walnut.jobs` raises on purpose."""

from __future__ import annotations


class JobsError(Exception):
    """Base of every error raised by `walnut.jobs`."""
