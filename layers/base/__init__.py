"""What does every layer share? Arrays, checked hyper-parameters, initial values, random streams."""
