"""How do layers become one network over one flat vector?"""
