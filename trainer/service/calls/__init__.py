"""How is a call let in? The gRPC servers, and the interceptors that answer errors, count, admit,
authenticate and decode, in this order."""
