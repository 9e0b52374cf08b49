"""What a subsystem is to the server that runs it: one small class, and what it may ask of the others.

    model.py     Subsystem, Resources, Page
    units.py     durations and sizes as settings are given
    errors.py    what can be wrong with how they are put together

What must stay true: a subsystem is found by its name alone. `walnut.NAME.service:Service`,
`walnut.NAME.cli:NAME` and `walnut.NAME.page:PAGES` are where the server looks, so that adding one
touches its own folder and one line of `walnut.server.subsystems`.
"""

from walnut.subsystem.errors import NotProvided, SubsystemError
from walnut.subsystem.model import Page, Resources, ServerInfo, Subsystem

__all__ = ["NotProvided", "Page", "Resources", "ServerInfo", "Subsystem", "SubsystemError"]
