"""How does a client follow a stream across restarts, up to its deadline?"""
