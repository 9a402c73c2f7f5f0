"""One worker: data, sampling, the summed gradient of a shard, the channel to the server."""
