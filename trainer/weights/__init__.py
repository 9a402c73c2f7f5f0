"""Where do weights come from, how do they lie in a file, and where do they go?"""
