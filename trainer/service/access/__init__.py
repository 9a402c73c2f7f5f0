"""Who may do what? Users' tokens and roles, the permissions of each method, TLS, the audit log, and
the files and addresses that a specification may name.

A runner's token, which is of one attempt at one run, is checked with that run's state, in
``trainer/service/runs/transitions.py``.
"""
