"""Django's PostgreSQL backend whose connections know where the code stands that uses them (wall.py)."""
