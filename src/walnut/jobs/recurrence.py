"""Stub until the branch lands."""

from __future__ import annotations

import datetime as dt

import msgspec


class Cron(msgspec.Struct, frozen=True, tag="cron", array_like=True):
    expression: str
    zone: str = "UTC"


class Rule(msgspec.Struct, frozen=True, tag="rule", array_like=True):
    text: str
    start: dt.datetime
    zone: str = "UTC"


Recurrence = Cron | Rule


def first(recurrence: Recurrence, after: dt.datetime) -> dt.datetime:
    return after + dt.timedelta(seconds=1)


def following(recurrence: Recurrence, after: dt.datetime) -> dt.datetime | None:
    return after + dt.timedelta(seconds=1)
