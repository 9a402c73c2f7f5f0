"""The client for asyncio, by hand; the blocking one is generated from it."""
