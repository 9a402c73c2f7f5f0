"""The client for asyncio, written by hand; the blocking one is made from it."""
