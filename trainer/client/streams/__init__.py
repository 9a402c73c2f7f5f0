"""How does a client follow a stream across restarts and to the end of its time?"""
