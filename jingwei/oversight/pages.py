"""Pages of the security and the audit administrator that are no list."""

PAGES = []
