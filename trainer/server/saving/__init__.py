"""When is a snapshot taken, and how is one read back?"""
