"""The bucket: a protocol, its S3 implementation, and who mints keys to parts of it."""
