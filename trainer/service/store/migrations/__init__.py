"""How does an earlier schema become the present one? One file a revision, run by Alembic in order.

A released revision never changes, so it repeats what it needs of the tables as they were then.
"""
