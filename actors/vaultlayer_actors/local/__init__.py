"""The embedded servers: nats-server and an S3 server as children of the broker, on loopback."""
