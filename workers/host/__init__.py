"""What does the host decide: which bits it computes, and which paths may be opened?"""
