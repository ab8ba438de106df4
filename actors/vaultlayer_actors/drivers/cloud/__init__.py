"""What the drivers of all clouds stand on: calls with limits and classified errors, safe creates, prices."""
