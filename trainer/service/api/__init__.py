"""What may be asked? One method a request, and the errors that it may be refused with."""
