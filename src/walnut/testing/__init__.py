"""Tools for testing what is durable: a disk that fails on command, a clock that is set, and the
simulator that proves the log on both. For Walnut's own tests and for those of its users."""

from walnut.testing.disk import Crash, Faults, SimClock, SimDisk

__all__ = ["Crash", "Faults", "SimClock", "SimDisk"]
