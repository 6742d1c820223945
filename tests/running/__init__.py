"""Two machines, a database elsewhere with a streaming replica, nginx with TLS in front: as in production."""
