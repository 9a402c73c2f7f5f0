"""How do messages and vectors reach the parameter server?"""
