"""What is a network like before training, and are its derivatives right?"""
