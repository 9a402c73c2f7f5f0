"""What did this process log and print?"""
