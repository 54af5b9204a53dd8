"""The pool of logical connections.

Its decisions are pure: the state changes, and what follows from that (whom to wake, what to open,
what to close) is returned as a value, for others to carry out. Time is an argument.
"""
