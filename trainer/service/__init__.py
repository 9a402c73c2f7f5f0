"""Who takes, queues and looks after runs? The service: the one process that clients call.

``service.py`` puts the parts together and ``settings.py`` says what may be set; ``embedded.py`` is
a service inside another program. A call passes the rooms in this order:

- ``calls``: how is a call let in?
- ``access``: who may do what?
- ``api``: what may be asked?
- ``runs``: what happens to a run?
- ``store``: where are runs kept?

Beside its calls, a service looks after its runs:

- ``queue``: which run is next?
- ``cluster``: how does a run reach Ray?
- ``takeover``: whose runs are these?
- ``outputs``: what does a run give?

Its own figures, for Prometheus, are in ``prometheus.py``.
"""
