"""The conventions of Walnut's HTTP API, which the `api.py` of every subsystem is written in.

    caller.py        who calls: the principal, what it may do, its request id and idempotency key
    access.py        what a route needs; the seam at which a policy engine decides
    problems.py      refusals as RFC 9457 problem documents of stable types
    paging.py, conditions.py, positions.py, idempotency.py    cursors, entity tags, LSNs, keys
    answer.py, express.py                                     what routes return; the hot ones
    app.py, openapi.py, refusals.py                           all routes as one app, described

What must stay true: it knows nothing of Walnut's subsystems; each brings its own errors and routes.
`caller`, `access` and `problems` need nothing beyond the core install.
"""
