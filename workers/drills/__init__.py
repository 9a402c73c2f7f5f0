"""How does a fault happen on purpose, and is written down first?"""
