"""What the security and the audit administrator see in lists."""

RESOURCES = []
