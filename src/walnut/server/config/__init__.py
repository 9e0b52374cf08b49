"""Settings: walnut.toml, the environment and flags, as one struct for each section.

    model.py     the server's own sections
    load.py      from a file, the environment and flags to `Settings`, or every problem by line
    lines.py     the line of each key
    types.py     what a setting may be, in words; reading and writing one
    document.py  the commented default, and the settings in force, as text

What must stay true: the structs are the only place that says which settings there are, what they
mean and what they are if nobody says so.
"""
