"""Uses a cache through redis-py. With the argument `all` it is a real one, and is used for more than the example knows."""
import asyncio
import sys

import redis


def commands(cache):
    value = bytes(range(256)) * 10_000
    assert cache.ping()
    assert cache.flushall()
    assert cache.set("binary", value) and cache.get("binary") == value
    assert cache.mset({"a": 1, "b": 2}) and cache.mget("a", "missing", "b") == [b"1", None, b"2"]
    assert cache.set("brief", "x", ex=100) and 0 < cache.ttl("brief") <= 100
    assert cache.set("a", 3, nx=True) is None and cache.get("a") == b"1"
    assert cache.incr("a") == 2
    assert sorted(cache.keys("?")) == [b"a", b"b"]
    assert cache.exists("a", "missing") == 1 and cache.delete("a", "missing") == 1
    try:
        cache.execute_command("NONSENSE")
        raise AssertionError("the cache knows an unknown command")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error
    # The connection goes on after an error.
    pipeline = cache.pipeline(transaction=False)
    for number in range(1000):
        pipeline.set(f"key:{number}", number)
    assert pipeline.execute() == [True] * 1000
    assert cache.dbsize() == 1003


def more_commands(cache):
    assert cache.pipeline().incr("n").incr("n").execute() == [1, 2]
    assert cache.eval("return {KEYS[1], ARGV[1]}", 1, "key", "value") == [b"key", b"value"]
    assert cache.xadd("stream", {"field": "value"}) and cache.xlen("stream") == 1
    with cache.pubsub() as subscriber:
        subscriber.subscribe("channel")
        assert subscriber.get_message(timeout=60)["type"] == "subscribe"
        assert cache.publish("channel", "message") == 1
        assert subscriber.get_message(timeout=60)["data"] == b"message"


async def at_once(socket, protocol):
    """Twenty commands at once, each on a connection of its own."""
    async with redis.asyncio.Redis(unix_socket_path=socket, **protocol) as cache:
        await cache.delete("count")
        counts = await asyncio.gather(*(cache.incr("count") for _ in range(20)))
    assert sorted(counts) == list(range(1, 21)), counts


socket, *options = sys.argv[1:]
# The last one is the protocol that redis-py asks for by default.
for protocol in {"protocol": 2}, {"protocol": 3}, {}:
    with redis.Redis(unix_socket_path=socket, **protocol) as cache:
        commands(cache)
        if options:
            more_commands(cache)
    asyncio.run(at_once(socket, protocol))
print("used")
