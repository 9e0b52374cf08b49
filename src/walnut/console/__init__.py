"""The console: Walnut in a browser. Pages are drawn in Python by NiceGUI; `docs/console.md` shows it.

    app.py       `Console`: the ASGI app under /console, its start and its end
    visit.py     `Visit`: who looks at a page, what they may do, where links lead
    shell.py     the frame around each page: bar, menu, shortcuts, errors, sessions that end
    parts/       what pages are made of: plots, tables, JSON, following, a line of time, empty states
    login.py     the page before it, without NiceGUI
    words.py     numbers, times and sizes in words

What must stay true: a page is only built for a caller whom the server's access layer let in, and every
change is decided anew, with the session as it is at that moment. Importing this loads no NiceGUI, which
takes most of a second: a server does that once it is ready.
"""

from walnut.console.errors import Conflict, ConsoleError, InvalidInput, SessionEnded
from walnut.console.visit import Visit, link

__all__ = ["Conflict", "ConsoleError", "InvalidInput", "SessionEnded", "Visit", "link"]
