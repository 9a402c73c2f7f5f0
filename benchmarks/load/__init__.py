"""How many callers and watchers does a service bear?"""
