"""What does a specification say, and which mistakes are in it?"""
