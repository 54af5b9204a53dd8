"""The web applications that web.py compares: one view, each in its own way.

They are plain WSGI and ASGI: a framework would take its time from all of them alike, and hide what
is to be seen.
"""
