"""How is a run saved so that it resumes exactly, and how is damage recognised?"""
