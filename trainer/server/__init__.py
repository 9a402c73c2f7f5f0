"""What does the parameter server do with the workers' answers?"""
