"""What may be asked? The methods of the two gRPC services, the limits of their requests, and the
table of refusals."""
