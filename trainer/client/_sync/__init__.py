"""How does a program that blocks call the service?"""
