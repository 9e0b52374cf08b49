"""Who is let in, to what, and how much at a time.

    connection ─▶ Guarded: request id ─▶ Gate.authenticate ─▶ Admission, limits ─▶ the app
                                            ├ bearer token      Tokens, Attempts
                                            ├ local socket      peers
                                            └ console session   Sessions

    credentials.py   tokens as text: made, read, compared
    tokens.py        which tokens there are: a table, and the same in memory
    attempts.py      how many wrong credentials are put up with
    peers.py         who is at the other end of the local socket
    sessions.py      the console's logins; login.py: the requests by which they begin and end
    gate.py          the one that decides: `walnut.web.access.Access`
    limits.py        how much at a time
    request_ids.py   what each request is called
    middleware.py    the ASGI app in front of all others
    views.py, api.py, cli.py    /v1/tokens, `walnut token`
    errors.py, problems.py      what is refused about tokens

What must stay true: nothing behind `Guarded` is reached without a `Caller`, and no secret is kept,
logged or answered but once, when it is made.
"""
