"""The wire: topics and bodies over ZeroMQ sockets."""
