"""The server: one process, one data directory, everything of Walnut in it.

    config/         walnut.toml, the environment and flags
    subsystems.py   which subsystems there are: one line for each
    server.py       put together: sockets, subsystems, HTTP; from start to stop

What must stay true: it composes and decides nothing that a subsystem could; nobody imports it but the
command line.
"""
