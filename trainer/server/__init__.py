"""What does the parameter server do with what workers answer?"""
