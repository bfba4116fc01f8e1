"""``minidock ui``: one page in the browser, on loopback only, for whoever has the link that the command prints.

``gate`` (token, cookie, Host, Origin) → ``serving`` (the server of :mod:`minidock.server` with another table) →
``pages`` (the page and its files), ``views`` (JSON), ``live``, ``logs``, ``terminal`` (websockets, by ``channel``).
"""
