"""`walnut init`, `serve`, `config`, `restart`, `demo`: the server on the command line.

    serving.py    init, serve, restart
    showing.py    config show, config check
    demonstrating.py  demo
    options.py    the flags that stand for settings

What must stay true: what a command line says goes over the environment and the file, and is checked as
they are.
"""

from walnut.server.cli.demonstrating import demo
from walnut.server.cli.serving import init, restart, serve
from walnut.server.cli.showing import config

__all__ = ["config", "demo", "init", "restart", "serve"]
