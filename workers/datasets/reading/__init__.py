"""How is an untrusted file read? With bounds, and never with pickle."""
