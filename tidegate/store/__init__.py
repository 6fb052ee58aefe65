"""What Tidegate keeps in PostgreSQL, one module a subject, its SQL beside the code that runs it.

Every function takes a connection and none commits: the caller decides what stands together.
"""
